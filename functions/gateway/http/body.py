"""The body of a request, read strictly: its type, its size before and while it is read."""

from urllib.parse import parse_qsl

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import ClientDisconnected

from claude_run.errors import CallerError, Code
from claude_run.wire import MAX_BODY_BYTES

_PIECE = 64 * 1024
# How long a sender may send nothing at all: it holds a thread.
SILENCE_SECONDS = 20.0
MAX_FORM_FIELDS = 20


def read_json_body(request: Request, *, at_most: int = MAX_BODY_BYTES) -> bytes:
    """The bytes of a JSON body, or `CallerError`. Nothing of it is parsed."""
    if not _is_type(request, "application/json"):
        raise CallerError(
            "The body must be JSON: Content-Type: application/json, not compressed.",
            code=Code.UNSUPPORTED_MEDIA_TYPE,
            details={"field": "Content-Type", "rule": "must be application/json"},
        )
    return _read(request, at_most)


def is_form(request: Request) -> bool:
    """Whether the body is what a browser's form sends."""
    return _is_type(request, "application/x-www-form-urlencoded")


def read_form(request: Request, *, at_most: int) -> dict[str, str]:
    """The fields of a form, each there once, or `CallerError`."""
    if not is_form(request):
        raise CallerError(
            "The body must be a form: application/x-www-form-urlencoded, not compressed.",
            code=Code.UNSUPPORTED_MEDIA_TYPE,
            details={"field": "Content-Type", "rule": "must be a form's"},
        )
    try:
        text = _read(request, at_most).decode("ascii")
        pairs = parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS
        )
    except ValueError:
        raise CallerError("The form cannot be understood.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise CallerError("The form has a field twice.")
    return fields


def _is_type(request: Request, wanted: str) -> bool:
    content_type, _, parameters = request.headers.get("Content-Type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    return (
        content_type.strip().lower() == wanted
        and charset in ("", "charset=utf-8")
        and request.headers.get("Content-Encoding", "identity") == "identity"
    )


def _read(request: Request, at_most: int) -> bytes:
    declared = request.headers.get("Content-Length", "0")
    if len(declared) > 12 or (declared.isdigit() and int(declared) > at_most):
        raise _too_large(at_most)
    body = bytearray()
    connection = request.environ.get("gunicorn.socket")
    try:
        if connection is not None:
            connection.settimeout(SILENCE_SECONDS)
        while piece := request.stream.read(_PIECE):
            body += piece
            if len(body) > at_most:
                raise _too_large(at_most)
    except (ClientDisconnected, ParseException, OSError):  # the last two are gunicorn's
        raise CallerError("The body ends too early or is not well chunked.") from None
    finally:
        if connection is not None:
            connection.settimeout(None)
    return bytes(body)


def _too_large(at_most: int) -> CallerError:
    return CallerError(
        f"The body is larger than {at_most} bytes.",
        code=Code.PAYLOAD_TOO_LARGE,
        details={"field": "body", "maxBytes": at_most},
    )
