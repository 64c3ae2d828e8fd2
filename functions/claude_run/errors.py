"""What can go wrong, by whose fault it is.

The codes are a closed list: they stand in HTTP error bodies and in `error` events, and clients
branch on them. Only the edge of a deployable turns these exceptions into answers.
"""

from collections.abc import Mapping
from enum import StrEnum


class Code(StrEnum):
    """Every code that gateway and runner use, on the wire as its own name."""

    VALIDATION_ERROR = "VALIDATION_ERROR"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    CONFLICT = "CONFLICT"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    NO_CREDENTIAL = "NO_CREDENTIAL"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"
    SHUTDOWN = "SHUTDOWN"
    CLONE_FAILED = "CLONE_FAILED"
    AGENT_FAILED = "AGENT_FAILED"
    MAX_TURNS = "MAX_TURNS"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    UPSTREAM_AUTH = "UPSTREAM_AUTH"
    UPSTREAM_RATE_LIMIT = "UPSTREAM_RATE_LIMIT"
    UPSTREAM_OVERLOADED = "UPSTREAM_OVERLOADED"
    UPSTREAM_ERROR = "UPSTREAM_ERROR"

    @property
    def http_status(self) -> int:
        """The status of an HTTP answer that carries this code."""
        return _STATUS.get(self, 500)


# What is not named here can only happen once a stream has begun; asked for as one JSON object,
# it is a failure of the agent: 500, as the API reference says.
_STATUS: Mapping[Code, int] = {
    Code.VALIDATION_ERROR: 400,
    Code.NO_CREDENTIAL: 400,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.TIMEOUT: 408,
    Code.CONFLICT: 409,
    Code.PAYLOAD_TOO_LARGE: 413,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.RATE_LIMIT_EXCEEDED: 429,
    Code.QUOTA_EXCEEDED: 429,
    Code.UNAVAILABLE: 503,
}


class ClaudeRunError(Exception):
    """The root: a code, a sentence for the user, and facts. None of them ever holds a secret.

    `status` and `request_id` are what the server said whose answer this error comes from, and
    None where none answered; `http_status` is what an answer of ours would carry.
    """

    code: Code = Code.INTERNAL_ERROR

    def __init__(
        self,
        message: str,
        *,
        code: Code | None = None,
        details: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.details = dict(details or {})
        self.headers = dict(headers or {})
        self.status = status
        self.request_id = request_id

    @property
    def http_status(self) -> int:
        """The status of an HTTP answer that reports this error."""
        return self.code.http_status


class CallerError(ClaudeRunError):
    """The caller asked for what cannot be, may not be, or is not there."""

    code = Code.VALIDATION_ERROR


class UpstreamError(ClaudeRunError):
    """Anthropic, GitHub, Google or the other half of claude-run did not do its part."""

    code = Code.UPSTREAM_ERROR


class AgentError(ClaudeRunError):
    """Claude Code started and did not end well, or did not start."""

    code = Code.AGENT_FAILED


class StoppedError(ClaudeRunError):
    """Somebody or something ended the run from outside: a deadline, a caller, a shutdown."""

    code = Code.CANCELLED


class ConfigurationError(ClaudeRunError):
    """The deployment is set up wrongly; raised at start, naming every wrong setting at once."""

    code = Code.INTERNAL_ERROR


def wrong_method(allow: str | None) -> str:
    """The sentence for METHOD_NOT_ALLOWED; `allow`: the header of that name."""
    named = [method.strip() for method in (allow or "").split(",")]
    methods = [method for method in named if method not in ("", "HEAD", "OPTIONS")]
    return f"This path takes {' or '.join(sorted(methods)) or 'another method'}."


def error_data(error: ClaudeRunError) -> dict[str, object]:
    """The runner's form of an error: the body of a refusal, the data of an `error` event."""
    return {"error": error.message, "code": error.code, "details": error.details}


_FAULT: Mapping[Code, type[ClaudeRunError]] = {
    Code.TIMEOUT: StoppedError,
    Code.CANCELLED: StoppedError,
    Code.INTERRUPTED: StoppedError,
    Code.SHUTDOWN: StoppedError,
    Code.AGENT_FAILED: AgentError,
    Code.MAX_TURNS: AgentError,
    Code.BUDGET_EXCEEDED: AgentError,
    Code.UNAVAILABLE: UpstreamError,
    Code.INTERNAL_ERROR: UpstreamError,
    Code.UPSTREAM_AUTH: UpstreamError,
    Code.UPSTREAM_RATE_LIMIT: UpstreamError,
    Code.UPSTREAM_OVERLOADED: UpstreamError,
    Code.UPSTREAM_ERROR: UpstreamError,
}


def error_for(
    code: str,
    message: str,
    *,
    details: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
    status: int | None = None,
    request_id: str | None = None,
) -> ClaudeRunError:
    """What a server reported, as an exception of the branch whose fault it is.

    A code that this version does not know is an `UpstreamError` and kept in its details.
    """
    facts = {**(details or {})}
    try:
        known = Code(code)
    except ValueError:
        known = Code.UPSTREAM_ERROR
        facts["code"] = code
    return _FAULT.get(known, CallerError)(
        message, code=known, details=facts, headers=headers, status=status, request_id=request_id
    )
