"""`claude-run demo`: start everything here, run one session, end everything."""

import tempfile
from pathlib import Path

from claude_run.cli import follow
from claude_run.cli.ending import FAILED, Streams
from claude_run.cli.machine import missing_parts, show_failure, show_log, which_model
from claude_run.cli.plain import one_line
from claude_run.cli.run import Order
from claude_run.cli.screen import Screen, is_live
from claude_run.cli.style import style_for
from claude_run.local.services import has_key, services
from claude_run.local.stack import Interrupted, Stack, StackError

DEFAULT_PROMPT = "Say hello, and leave a short note for whoever finds this folder."


def demo(streams: Streams, *, prompt: str | None) -> int:
    """The exit status of the run, or 1 where there was none."""
    if (missing := missing_parts()) is not None:
        streams.err.write(missing)
        return FAILED
    environ = streams.environ
    wanted = prompt or environ.get("PROMPT") or DEFAULT_PROMPT
    style = style_for(terminal=streams.out.isatty(), environ=environ)
    streams.out.write(f"{which_model(environ)}\n{style.quiet(f'> {one_line(wanted, 200)}')}\n\n")
    streams.out.flush()
    with (
        tempfile.TemporaryDirectory(prefix="claude-run-demo-") as state,
        Stack(services(environ, port=0, state=Path(state)), environ) as stack,
    ):
        try:
            live = is_live(streams.out, streams.err, environ)
            with Screen(streams.out, streams.err, live=live, style=style) as screen:
                screen.wait_for("starting gateway and runner")
                stack.start()
            with stack.interruptible():
                order = Order(base_url=stack.addresses["gateway"], prompt=wanted)
                status = follow.start(order, streams, stays=False)
            if status == FAILED:
                for name in ("runner", "gateway"):
                    show_log(stack.last_lines(name), streams)
        except StackError as error:
            show_failure(error, streams)
            return FAILED
        except Interrupted:
            status = FAILED
        if status == 0 and stack.signalled is None and not has_key(environ):
            # Before the services end, which takes a moment.
            note = "Nothing was billed: the cost is what Claude Code reckons for such a run."
            streams.out.write(f"{style.quiet(note)}\n")
            streams.out.flush()
    if stack.signalled is not None:
        return 128 + stack.signalled
    return status
