"""The body of a request, read strictly: its type, its size before and while it is read."""

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import ClientDisconnected

from claude_run.errors import CallerError, Code
from claude_run.wire import MAX_BODY_BYTES

_PIECE = 64 * 1024


def read_json_body(request: Request, *, at_most: int = MAX_BODY_BYTES) -> bytes:
    """The bytes of a JSON body, or `CallerError`. Nothing of it is parsed."""
    _check_type(request)
    declared = request.headers.get("Content-Length", "0")
    if len(declared) > 12 or (declared.isdigit() and int(declared) > at_most):
        raise _too_large(at_most)
    body = bytearray()
    try:
        while piece := request.stream.read(_PIECE):
            body += piece
            if len(body) > at_most:
                raise _too_large(at_most)
    except (ClientDisconnected, ParseException, OSError):  # the last two are gunicorn's
        raise CallerError("The body ends too early or is not well chunked.") from None
    return bytes(body)


def _check_type(request: Request) -> None:
    content_type, _, parameters = request.headers.get("Content-Type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if (
        content_type.strip().lower() != "application/json"
        or charset not in ("", "charset=utf-8")
        or request.headers.get("Content-Encoding", "identity") != "identity"
    ):
        raise CallerError(
            "The body must be JSON: Content-Type: application/json, not compressed.",
            code=Code.UNSUPPORTED_MEDIA_TYPE,
            details={"field": "Content-Type", "rule": "must be application/json"},
        )


def _too_large(at_most: int) -> CallerError:
    return CallerError(
        f"The body is larger than {at_most} bytes.",
        code=Code.PAYLOAD_TOO_LARGE,
        details={"field": "body", "maxBytes": at_most},
    )
