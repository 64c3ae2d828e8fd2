"""What `demo` and `dev` say of this machine: the model that answers, what is missing or failed."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from claude_run.cli.ending import Streams
from claude_run.cli.plain import plain
from claude_run.local.services import ENTRY_POINTS, KEYS, has_key
from claude_run.local.stack import StackError

# The services themselves, and one of each kind of what they need.
_PARTS = (
    *("runner", "starlette", "uvicorn", "claude_agent_sdk"),
    *("gateway", "functions_framework", "flask", "prometheus_client", "structlog"),
)
# How lines of no interest are marked: our own, and gunicorn's.
_USUAL = ('"severity": "INFO"', "] [INFO] ")


def missing_parts() -> str | None:
    """A sentence, where the services are not installed beside the command line."""
    if all(find_spec(part) is not None for part in _PARTS) and ENTRY_POINTS.is_file():
        return None
    return (
        "claude-run: gateway and runner are not installed here: "
        "run `make demo` in a copy of claude-run's repository\n"
    )


def which_model(environ: Mapping[str, str]) -> str:
    """Who is going to answer, in one sentence."""
    if has_key(environ):
        name = next(name for name in KEYS if environ.get(name))
        return f"The real model answers, with the key in {name}."
    return (
        f"The scripted model answers: neither {KEYS[0]} nor {KEYS[1]} is set.\n"
        "Claude Code is the real one."
    )


def show_log(lines: Sequence[str], streams: Streams) -> None:
    """What a service said, but for what it always says."""
    worth = [plain(line) for line in lines if not any(usual in line for usual in _USUAL)]
    streams.err.write("".join(f"  {line}\n" for line in worth))


def show_failure(error: StackError, streams: Streams) -> None:
    """What failed, after the end of what it said."""
    show_log(error.lines, streams)
    streams.err.write(f"claude-run: {plain(error.message)}\n")
