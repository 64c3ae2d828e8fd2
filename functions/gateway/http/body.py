"""The body of a request, read strictly: its type, its size before and while it is read."""

import socket
from urllib.parse import parse_qsl

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import ClientDisconnected

from claude_run.errors import CallerError, Code
from claude_run.wire import MAX_BODY_BYTES
from gateway.http.patience import Patience

_PIECE = 64 * 1024
# How long a sender may send nothing at all: it holds a thread.
SILENCE_SECONDS = 20.0
# And how long it may take altogether: 31 MiB over a slow line; a small body over any.
SECONDS = 600.0
FORM_SECONDS = 30.0
MAX_FORM_FIELDS = 20

_patience = Patience()


def read_json_body(
    request: Request, *, at_most: int = MAX_BODY_BYTES, within: float = SECONDS
) -> bytes:
    """The bytes of a JSON body, or `CallerError`. Nothing of it is parsed.

    `within`: seconds that they may take to come.
    """
    if not _is_type(request, "application/json"):
        raise CallerError(
            "The body must be JSON: Content-Type: application/json, not compressed.",
            code=Code.UNSUPPORTED_MEDIA_TYPE,
            details={"field": "Content-Type", "rule": "must be application/json"},
        )
    return _read(request, at_most, within)


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
        text = _read(request, at_most, FORM_SECONDS).decode("ascii")
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


def _read(request: Request, at_most: int, within: float) -> bytes:
    declared = request.headers.get("Content-Length", "")
    if len(declared) > 12 or (declared.isdigit() and int(declared) > at_most):
        raise _too_large(at_most)
    connection = request.environ.get("gunicorn.socket")
    try:
        body = _timed(request, connection, at_most, within)
    except (ClientDisconnected, ParseException, OSError):  # the last two are gunicorn's
        raise _broken() from None
    # Of one with a length gunicorn gives what there is, when it ends.
    if declared.isdigit() and len(body) != int(declared):
        raise _broken()
    return body


def _timed(
    request: Request, connection: socket.socket | None, at_most: int, within: float
) -> bytes:
    if connection is None:
        return _pieces(request, at_most)
    connection.settimeout(SILENCE_SECONDS)
    try:
        with _patience.bounded(connection, within):
            return _pieces(request, at_most)
    finally:
        connection.settimeout(None)


def _pieces(request: Request, at_most: int) -> bytes:
    body = bytearray()
    while piece := request.stream.read(_PIECE):
        body += piece
        if len(body) > at_most:
            raise _too_large(at_most)
    return bytes(body)


def _broken() -> CallerError:
    return CallerError("The body ends too early or is not well chunked.")


def _too_large(at_most: int) -> CallerError:
    return CallerError(
        f"The body is larger than {at_most} bytes.",
        code=Code.PAYLOAD_TOO_LARGE,
        details={"field": "body", "maxBytes": at_most},
    )
