"""The closed list of codes, their statuses, and the branches of the exception tree."""

import pytest

from claude_run.errors import (
    AgentError,
    CallerError,
    ClaudeRunError,
    Code,
    ConfigurationError,
    StoppedError,
    UpstreamError,
    error_for,
    wrong_method,
)


def test_codes_are_their_own_names() -> None:
    """What stands on the wire is the name that stands in the code."""
    assert all(code.value == code.name for code in Code)
    assert len(Code) == 25


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.VALIDATION_ERROR, 400),
        (Code.NO_CREDENTIAL, 400),
        (Code.UNAUTHORIZED, 401),
        (Code.FORBIDDEN, 403),
        (Code.NOT_FOUND, 404),
        (Code.METHOD_NOT_ALLOWED, 405),
        (Code.TIMEOUT, 408),
        (Code.CONFLICT, 409),
        (Code.PAYLOAD_TOO_LARGE, 413),
        (Code.UNSUPPORTED_MEDIA_TYPE, 415),
        (Code.RATE_LIMIT_EXCEEDED, 429),
        (Code.QUOTA_EXCEEDED, 429),
        (Code.AGENT_FAILED, 500),
        (Code.INTERNAL_ERROR, 500),
        (Code.UNAVAILABLE, 503),
    ],
)
def test_each_code_has_its_status(code: Code, status: int) -> None:
    """As the API reference lists them."""
    assert code.http_status == status
    assert CallerError("x", code=code).http_status == status


@pytest.mark.parametrize(
    ("code", "branch"),
    [
        ("VALIDATION_ERROR", CallerError),
        ("CONFLICT", CallerError),
        ("CLONE_FAILED", CallerError),
        ("AGENT_FAILED", AgentError),
        ("BUDGET_EXCEEDED", AgentError),
        ("TIMEOUT", StoppedError),
        ("SHUTDOWN", StoppedError),
        ("UNAVAILABLE", UpstreamError),
        ("UPSTREAM_AUTH", UpstreamError),
        ("INTERNAL_ERROR", UpstreamError),
    ],
)
def test_a_reported_code_becomes_the_exception_of_whose_fault_it_is(
    code: str, branch: type[ClaudeRunError]
) -> None:
    """And keeps the facts that came with it."""
    error = error_for(
        code, "why", details={"field": "f"}, status=418, request_id="r", headers={"A": "b"}
    )
    assert type(error) is branch
    assert (error.code, error.message, str(error)) == (code, "why", "why")
    assert (error.status, error.request_id) == (418, "r")
    assert (error.details, error.headers) == ({"field": "f"}, {"A": "b"})


def test_a_code_of_a_newer_server_is_kept() -> None:
    """Not understood, but not lost either."""
    error = error_for("ON_FIRE", "why", details={"a": 1})
    assert type(error) is UpstreamError
    assert error.code is Code.UPSTREAM_ERROR
    assert error.details == {"a": 1, "code": "ON_FIRE"}


def test_every_branch_is_caught_by_the_root() -> None:
    """One `except` is enough for a caller who does not care, and facts are copies."""
    details = {"a": 1}
    for branch in (CallerError, UpstreamError, AgentError, StoppedError, ConfigurationError):
        error = branch("x", details=details)
        assert isinstance(error, ClaudeRunError)
        assert error.details == details
        assert error.details is not details
        assert error.code is branch.code


@pytest.mark.parametrize(
    ("allow", "said"),
    [
        ("OPTIONS, POST", "This path takes POST."),
        ("HEAD, GET,DELETE", "This path takes DELETE or GET."),
        (None, "This path takes another method."),
    ],
)
def test_a_wrong_method_is_told_the_right_one(allow: str | None, said: str) -> None:
    """Those that do something, from the header that the answer carries as well."""
    assert wrong_method(allow) == said
