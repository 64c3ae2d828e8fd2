"""What Claude Code's `result` line says of a run, in our codes. No I/O.

Success is a result line that says so; its exit status, its silence or an assistant's last words
are not. `subtype` and `api_error_status` are the CLI's own words (2.1).
"""

from typing import Any

from claude_run.errors import AgentError, ClaudeRunError, Code, UpstreamError

_BY_SUBTYPE = {
    "error_max_turns": (Code.MAX_TURNS, "The run used up its turns (maxTurns) before it was done."),
    "error_max_budget_usd": (
        Code.BUDGET_EXCEEDED,
        "The run used up its budget (maxBudgetUsd) before it was done.",
    ),
    "error_max_structured_output_retries": (
        Code.AGENT_FAILED,
        "Claude could not give an answer that fits outputSchema.",
    ),
    "error_during_execution": (Code.AGENT_FAILED, "Claude Code ended with an error of its own."),
}

_BY_STATUS = {
    401: (Code.UPSTREAM_AUTH, "Anthropic refused the credential. Check or renew the key."),
    403: (Code.UPSTREAM_AUTH, "Anthropic refused the credential for this model or feature."),
    429: (
        Code.UPSTREAM_RATE_LIMIT,
        "Anthropic's rate limit for this credential is reached. Try again later.",
    ),
    529: (Code.UPSTREAM_OVERLOADED, "Anthropic is overloaded. Try again later."),
}


def judge(result: dict[str, Any]) -> ClaudeRunError | None:
    """The error that a `result` line stands for; None where it says success."""
    subtype = result.get("subtype")
    if subtype == "success" and result.get("is_error") is not True:
        return None
    status = result.get("api_error_status")
    if isinstance(status, int) and status >= 400:
        code, message = _BY_STATUS.get(
            status,
            (Code.UPSTREAM_ERROR, f"Anthropic answered with HTTP status {status}."),
        )
        return UpstreamError(message, code=code, details={"status": status})
    if isinstance(subtype, str) and subtype in _BY_SUBTYPE:
        code, message = _BY_SUBTYPE[subtype]
        return AgentError(message, code=code, details={"subtype": subtype})
    if subtype == "success":
        # An API failure without a status: the connection to Anthropic broke or never stood.
        return UpstreamError("The model's answer did not arrive whole.", code=Code.UPSTREAM_ERROR)
    return AgentError("Claude Code ended without success.", details={"subtype": str(subtype)[:100]})
