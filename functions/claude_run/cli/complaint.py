"""An error as its reader needs it: what happened, why, and what to do. Pure."""

from claude_run.cli.plain import one_line
from claude_run.errors import ClaudeRunError, Code

MAX_MESSAGE = 600

# Of a run; a session's is below.
_RUN_ADVICE = {
    Code.UNAVAILABLE: "`make dev` starts a runner here; --base-url names another.",
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
_SESSION_ADVICE = _RUN_ADVICE | {
    Code.UNAVAILABLE: "--base-url names another gateway.",
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


def usage_complaint(error: ClaudeRunError) -> str:
    """The line for what was refused before anything was sent."""
    said, field, rule = error.message, error.details.get("field"), error.details.get("rule")
    if isinstance(field, str):
        path, _, inside = field.partition(".") if field not in _OPTIONS else (field, "", "")
        option = _OPTIONS.get(path) or f"--{path.removesuffix('_json').replace('_', '-')}"
        said = f"{option}{f' ({inside})' if inside else ''}: {rule}"
    return f"claude-run: {one_line(said, MAX_MESSAGE)}\n"


def complaint(error: ClaudeRunError, *, of_session: bool = False) -> str:
    """The lines for standard error."""
    said = one_line(error.message, MAX_MESSAGE)
    code = error.details.get("code") or error.code
    lines = [f"claude-run: {said} ({one_line(str(code), 40)})"]
    if advice := (_SESSION_ADVICE if of_session else _RUN_ADVICE).get(error.code):
        lines.append(f"  {advice}")
    if error.request_id:
        lines.append(f"  In the server's log this is request {one_line(error.request_id, 80)}.")
    return "".join(f"{line}\n" for line in lines)
