"""`claude-run demo`: start everything here, run one prompt, end everything."""

from claude_run.cli.machine import missing_parts, show_failure, show_log, which_model
from claude_run.cli.plain import one_line
from claude_run.cli.run import FAILED, Order, Streams, run
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
    with Stack(services(environ, port=0), environ) as stack:
        try:
            stack.start()
            with stack.interruptible():
                status = run(Order(base_url=stack.addresses["runner"], prompt=wanted), streams)
            if status == FAILED:
                show_log(stack.last_lines("runner"), streams)
        except StackError as error:
            show_failure(error, streams)
            return FAILED
        except Interrupted:
            status = FAILED
    if stack.signalled is not None:
        return 128 + stack.signalled
    if status == 0 and not has_key(environ):
        note = "Nothing was billed: the cost is what Claude Code reckons for such a run."
        streams.out.write(f"{style.quiet(note)}\n")
    return status
