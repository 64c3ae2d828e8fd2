"""What a result line means, in our codes."""

from typing import Any

import pytest

from claude_run.errors import AgentError, Code, UpstreamError
from runner.verdict import judge


def test_success_is_a_result_that_says_so() -> None:
    """Permission denials and the rest of the line do not matter."""
    assert judge({"subtype": "success", "is_error": False, "permission_denials": [{}]}) is None
    assert judge({"subtype": "success"}) is None


@pytest.mark.parametrize(
    ("result", "kind", "code"),
    [
        ({"subtype": "error_max_turns", "is_error": True}, AgentError, Code.MAX_TURNS),
        ({"subtype": "error_max_budget_usd"}, AgentError, Code.BUDGET_EXCEEDED),
        ({"subtype": "error_max_structured_output_retries"}, AgentError, Code.AGENT_FAILED),
        ({"subtype": "error_during_execution"}, AgentError, Code.AGENT_FAILED),
        ({"subtype": "error_of_tomorrow"}, AgentError, Code.AGENT_FAILED),
        ({"subtype": None}, AgentError, Code.AGENT_FAILED),
        ({}, AgentError, Code.AGENT_FAILED),
        ({"subtype": ["x"]}, AgentError, Code.AGENT_FAILED),
        ({"subtype": "success", "is_error": True}, UpstreamError, Code.UPSTREAM_ERROR),
    ],
)
def test_everything_else_is_a_failure(result: dict[str, Any], kind: type, code: Code) -> None:
    """By Claude Code's own words where it has some."""
    error = judge(result)
    assert error is not None
    assert (type(error), error.code) == (kind, code)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, Code.UPSTREAM_AUTH),
        (403, Code.UPSTREAM_AUTH),
        (429, Code.UPSTREAM_RATE_LIMIT),
        (529, Code.UPSTREAM_OVERLOADED),
        (400, Code.UPSTREAM_ERROR),
        (500, Code.UPSTREAM_ERROR),
    ],
)
def test_an_upstreams_refusal_keeps_its_status(status: int, code: Code) -> None:
    """It is told apart although Claude Code calls the run a success with an error."""
    error = judge({"subtype": "success", "is_error": True, "api_error_status": status})
    assert isinstance(error, UpstreamError)
    assert error.code is code
    assert error.details == {"status": status}


@pytest.mark.parametrize("status", [None, "401", 200, True, -1])
def test_a_status_that_is_none_is_no_refusal(status: object) -> None:
    """Only a number of 400 and above is what an upstream answers a refusal with."""
    error = judge({"subtype": "error_max_turns", "api_error_status": status})
    assert error is not None
    assert error.code is Code.MAX_TURNS
