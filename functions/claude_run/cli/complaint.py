"""An error as its reader needs it: what happened, why, and what to do. Pure."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from claude_run.cli.plain import one_line
from claude_run.errors import ClaudeRunError, Code
from claude_run.loopback import is_loopback

MAX_MESSAGE = 600

Advice = Mapping[Code, str]

# What to do about an error of a run; of a session, of one that is begun, and of deliveries below.
OF_RUN: Advice = {
    Code.UNAVAILABLE: "It is busy, or stopping: wait a little and try again.",
    Code.NO_CREDENTIAL: "Start the runner with ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN, "
    "or send a key of your own in CLAUDE_RUN_ANTHROPIC_API_KEY.",
    Code.NOT_FOUND: "Is --base-url the address of a runner?",
    Code.CLONE_FAILED: "Check the name and the branch. For a private repository set "
    "CLAUDE_RUN_GITHUB_TOKEN to a token that may read it.",
    Code.TIMEOUT: "Give it longer with --timeout-minutes, or ask for less at once.",
    Code.MAX_TURNS: "Allow more with --max-turns.",
    Code.BUDGET_EXCEEDED: "Allow more with --max-budget-usd.",
    Code.UPSTREAM_AUTH: "The key that the runner was started with, or that you sent, is not valid.",
    Code.UPSTREAM_RATE_LIMIT: "Wait a little and try again.",
    Code.UPSTREAM_OVERLOADED: "Wait a little and try again.",
    Code.INTERRUPTED: "The runner or the network went away. What the run changed is lost.",
    Code.SHUTDOWN: "The runner was stopped. Start it again, and then the run.",
    Code.AGENT_FAILED: "The runner's log says more.",
    Code.INTERNAL_ERROR: "The runner's log says more.",
}
OF_SESSION: Advice = {
    **OF_RUN,
    Code.NO_CREDENTIAL: "Store a key in the gateway's vault, or send one of your own in "
    "CLAUDE_RUN_ANTHROPIC_API_KEY.",
    Code.NOT_FOUND: "`claude-run sessions` lists yours. Is --base-url the address of a gateway?",
    Code.CONFLICT: "Wait for it with `claude-run tail ID`, or end it with `claude-run cancel ID`.",
    Code.UPSTREAM_AUTH: "The key in the gateway's vault, or the one that you sent, is not valid.",
    Code.INTERRUPTED: "What it did is kept: `claude-run show ID` tells how it stands, "
    "`claude-run send ID …` goes on.",
    Code.SHUTDOWN: "What it did is kept: `claude-run send ID …` goes on.",
    Code.AGENT_FAILED: "The server's log says more.",
    Code.INTERNAL_ERROR: "The server's log says more.",
}
OF_START: Advice = {
    **OF_SESSION,
    Code.CONFLICT: "Go on with it by `claude-run send ID …`, or choose another --session-id.",
}
OF_DELIVERIES: Advice = {
    **OF_SESSION,
    Code.NOT_FOUND: "`claude-run deliveries` lists them. Is --base-url the address of a gateway?",
    Code.FORBIDDEN: "Operators see deliveries: those whom the gateway's OPERATORS name.",
}

# How the user of the command line calls what the request has another name for.
_OPTIONS = {
    "prompt": "PROMPT",
    "repository": "--repo",
    "repository.url": "--repo",
    "repository.name": "--repo",
    "repository.branch": "--branch",
    "repository.commit": "--commit",
    "github_token": "CLAUDE_RUN_GITHUB_TOKEN",
    "anthropic_api_key": "CLAUDE_RUN_ANTHROPIC_API_KEY",
    "id": "ID",
}
# And rules that only a program can read.
_RULES = {"repository.name": "must be OWNER/NAME, or a URL"}


def usage_complaint(error: ClaudeRunError) -> str:
    """The line for what was refused before anything was sent."""
    said, field, rule = error.message, error.details.get("field"), error.details.get("rule")
    if isinstance(field, str):
        path, _, inside = field.partition(".") if field not in _OPTIONS else (field, "", "")
        option = _OPTIONS.get(path) or f"--{path.removesuffix('_json').replace('_', '-')}"
        said = f"{option}{f' ({inside})' if inside else ''}: {_RULES.get(field, rule)}"
    return f"claude-run: {one_line(said, MAX_MESSAGE)}\n"


def complaint(error: ClaudeRunError, *, advice: Advice = OF_RUN, server: str = "") -> str:
    """The lines for standard error. `server`: the one that was asked."""
    said = one_line(error.message, MAX_MESSAGE)
    code = error.details.get("code") or error.code
    lines = [f"claude-run: {said} ({one_line(str(code), 40)})"]
    if error.code is Code.UNAVAILABLE and error.status is None and server:
        lines.append(f"  {_nobody_at(server)}")
    elif what_to_do := advice.get(error.code):
        lines.append(f"  {what_to_do}")
    if error.request_id:
        lines.append(f"  In the server's log this is request {one_line(error.request_id, 80)}.")
    return "".join(f"{line}\n" for line in lines)


def _nobody_at(server: str) -> str:
    start = (
        ": `make dev` starts a server here" if is_loopback(urlsplit(server).hostname or "") else ""
    )
    return f"That was {one_line(server, 200)}{start}. --base-url or CLAUDE_RUN_URL names another."
