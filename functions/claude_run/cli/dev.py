"""`claude-run dev`: start everything here and stay."""

import shlex
import socket
import sys
import threading

from claude_run.cli.machine import missing_parts, show_failure, which_model
from claude_run.cli.plain import plain
from claude_run.cli.run import FAILED, USAGE, Streams
from claude_run.cli.style import style_for
from claude_run.local.services import services
from claude_run.local.stack import Interrupted, Stack, StackError

DEFAULT_PORT = "8080"

_READY = """\

{addresses}

Try it from another terminal:

  curl -N {runner}/run -H 'Content-Type: application/json' -d '{{"prompt": "Say hello"}}'
  {ourselves} run --base-url {runner} "Say hello"

Ctrl-C ends everything.

"""


def dev(streams: Streams) -> int:
    """0 after Ctrl-C; anything else where a service does not start, or ends."""
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
    return _stay(streams, int(port))


def _stay(streams: Streams, port: int) -> int:
    style = style_for(terminal=streams.out.isatty(), environ=streams.environ)
    writing = threading.Lock()

    def log(name: str, line: str) -> None:
        with writing:
            streams.err.write(f"{style.quiet(f'{name:>6} |')} {plain(line)}\n")
            streams.err.flush()

    with Stack(services(streams.environ, port=port), streams.environ) as stack:
        try:
            stack.start(log)
            rows = [f"  {name:<7} {address}" for name, address in stack.addresses.items()]
            text = _READY.format(
                addresses="\n".join(rows),
                runner=stack.addresses["runner"],
                ourselves=shlex.quote(sys.argv[0]),
            )
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


def _taken(port: int) -> str | None:
    with socket.socket() as probe:
        # As the runner binds: what only lingers from an earlier one is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            why = error.strerror or "it cannot be used"
            return f"claude-run: port {port}: {why}. Choose another: PORT={port + 1} make dev\n"
    return None
