"""`claude-run dev`: start everything here and stay."""

import shlex
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from claude_run.cli.ending import FAILED, USAGE, Streams
from claude_run.cli.machine import missing_parts, show_failure, which_model
from claude_run.cli.plain import plain
from claude_run.cli.style import style_for
from claude_run.client import Client
from claude_run.errors import ClaudeRunError
from claude_run.local.services import services
from claude_run.local.setup_code import setup_code
from claude_run.local.stack import Interrupted, Stack, StackError

DEFAULT_PORT = "8080"
# In the home directory: what sessions and the vault keep from one start to the next.
DEFAULT_FOLDER = ".claude-run"

_READY = """\

{addresses}

Try it from another terminal:

  curl -N {gateway}/run -H 'Content-Type: application/json' -d '{{"prompt": "Say hello"}}'
  {ourselves} run --base-url {gateway} "Say hello"

Set up the Claude key and a GitHub App in a browser, with the setup code {code}:

  {gateway}/gh-setup

{more}Ctrl-C ends everything.

"""


def dev(streams: Streams, *, more: str = "") -> int:
    """0 after Ctrl-C; anything else where a service does not start, or ends.

    `more` is told with the rest when all is ready.
    """
    port = streams.environ.get("PORT") or DEFAULT_PORT
    if not (port.isascii() and port.isdigit() and int(port[:6]) <= 65535):
        streams.err.write("claude-run: PORT must be a number from 0 to 65535\n")
        return USAGE
    problem = missing_parts() or _taken(int(port))
    if problem is not None:
        streams.err.write(problem)
        return FAILED
    streams.out.write(f"{which_model(streams.environ)}\n")
    streams.out.flush()
    return _stay(streams, int(port), more)


def _stay(streams: Streams, port: int, more: str) -> int:
    style = style_for(terminal=streams.out.isatty(), environ=streams.environ)
    writing = threading.Lock()

    def log(name: str, line: str) -> None:
        with writing:
            streams.err.write(f"{style.quiet(f'{name:>7} |')} {plain(line)}\n")
            streams.err.flush()

    started = services(streams.environ, port=port, state=_folder(streams.environ))
    with Stack(started, streams.environ) as stack:
        try:
            stack.start(log)
            rows = [f"  {name:<7} {address}" for name, address in stack.addresses.items()]
            text = _READY.format(
                addresses="\n".join(rows),
                gateway=stack.addresses["gateway"],
                ourselves=shlex.quote(sys.argv[0]),
                code=setup_code(streams.environ, _folder(streams.environ)),
                more=more,
            )
            _wake(stack.addresses["gateway"])
            with writing:
                streams.out.write(text)
                streams.out.flush()
            stack.wait()
        except StackError as error:
            show_failure(error, streams)
            return FAILED
        except Interrupted:
            pass
        streams.out.write("\nEnding everything …\n")
        streams.out.flush()
    return 0


def _wake(gateway: str) -> None:
    """Have it begin: what was left lying when it ended last is taken up by the first request."""
    with suppress(ClaudeRunError), Client(gateway) as client:
        client.health()


def _folder(environ: Mapping[str, str]) -> Path:
    named = environ.get("CLAUDE_RUN_HOME")
    return Path(named).absolute() if named else Path.home() / DEFAULT_FOLDER


def _taken(port: int) -> str | None:
    with socket.socket() as probe:
        # As the gateway binds: what only lingers from an earlier one is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            why = error.strerror or "it cannot be used"
            return f"claude-run: port {port}: {why}. Choose another: PORT={port + 1} make dev\n"
    return None
