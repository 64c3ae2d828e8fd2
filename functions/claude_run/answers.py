"""What a server's answer means, where it is not the stream or the object that was asked for."""

import json
from collections.abc import Mapping
from typing import Any

from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError, error_for

_MAX_MESSAGE = 2_000

_BY_STATUS: Mapping[int, Code] = {
    401: Code.UNAUTHORIZED,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    413: Code.PAYLOAD_TOO_LARGE,
    429: Code.RATE_LIMIT_EXCEEDED,
    503: Code.UNAVAILABLE,
}


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> ClaudeRunError:
    """The exception for an answer that is no success.

    Reads the runner's `{error, code, details}` and the gateway's `{error, message, timestamp}`.
    Of any other body nothing is repeated: it may be a proxy's, echoing what we sent.
    """
    request_id = headers.get("x-request-id")
    retry_after = headers.get("retry-after")
    kept = {"Retry-After": retry_after} if retry_after else {}
    match _object(body):
        case {"error": str(message), "code": str(code), **rest}:
            details = rest.get("details")
        case {"error": str(code), "message": str(message)}:
            details = None
        case _:
            return _foreign(status, kept, request_id)
    return error_for(
        code,
        message[:_MAX_MESSAGE],
        details=details if isinstance(details, dict) else None,
        headers=kept,
        status=status,
        request_id=request_id,
    )


def object_of(status: int, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The JSON object of a successful answer, or `UpstreamError`."""
    value = _object(body)
    if value is None:
        raise _foreign(status, {}, headers.get("x-request-id"))
    return value


def no_stream(status: int, headers: Mapping[str, str], body: bytes) -> ClaudeRunError:
    """The exception for an answer that should have been an event stream."""
    if not 200 <= status < 300:
        return refusal(status, headers, body)
    return UpstreamError(
        f"The server answered HTTP {status}, but not with an event stream",
        status=status,
        request_id=headers.get("x-request-id"),
    )


def is_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Whether the answer is an event stream."""
    kind, _, _ = headers.get("content-type", "").partition(";")
    return status == 200 and kind.strip().lower() == "text/event-stream"


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _foreign(status: int, headers: Mapping[str, str], request_id: str | None) -> ClaudeRunError:
    code = _BY_STATUS.get(status, Code.UPSTREAM_ERROR)
    if status in (401, 403):
        # Cloud Run's own pages: the service never saw the request.
        return CallerError(
            f"The platform in front of the service refused the identity token (HTTP {status}): "
            "its account must be allowed to invoke the service",
            code=code,
            status=status,
        )
    return UpstreamError(
        f"The server answered HTTP {status} without saying why in a form that we know",
        code=code,
        headers=headers,
        status=status,
        request_id=request_id,
    )
