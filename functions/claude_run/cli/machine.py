"""What `demo` and `dev` say of this machine: the model that answers, what is missing or failed."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from claude_run.cli.plain import plain
from claude_run.cli.run import Streams
from claude_run.local.services import KEYS, has_key
from claude_run.local.stack import StackError

# The runner itself, and one of each kind of what it needs.
_PARTS = ("runner", "starlette", "uvicorn", "claude_agent_sdk", "structlog")


def missing_parts() -> str | None:
    """A sentence, where the runner is not installed beside the command line."""
    if all(find_spec(part) is not None for part in _PARTS):
        return None
    return "claude-run: the runner is not installed here: pip install 'claude-run[runner]'\n"


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
    worth = [plain(line) for line in lines if '"severity": "INFO"' not in line]
    streams.err.write("".join(f"  {line}\n" for line in worth))


def show_failure(error: StackError, streams: Streams) -> None:
    """What failed, after the end of what it said."""
    show_log(error.lines, streams)
    streams.err.write(f"claude-run: {plain(error.message)}\n")
