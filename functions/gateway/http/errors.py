"""Errors as answers: the API reference's envelope, and the runner's body for `POST /run`."""

from collections.abc import Callable, Mapping
from datetime import datetime

import structlog
from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from claude_run.errors import (
    CallerError,
    ClaudeRunError,
    Code,
    ConfigurationError,
    error_data,
    wrong_method,
)
from gateway.http.envelope import envelope
from gateway.http.routes import RUN

log = structlog.get_logger()

RETRY_AFTER_SECONDS = 5
_WRONG = "Something went wrong in the gateway."

_BY_STATUS: Mapping[int, tuple[Code, str]] = {
    400: (Code.VALIDATION_ERROR, "The request cannot be understood."),
    404: (Code.NOT_FOUND, "There is nothing at this path."),
    405: (Code.METHOD_NOT_ALLOWED, ""),
    413: (Code.PAYLOAD_TOO_LARGE, "The request is too large."),
    415: (Code.UNSUPPORTED_MEDIA_TYPE, "The body must be application/json."),
}


def install(app: Flask, clock: Callable[[], datetime]) -> None:
    """Make every error of the app one of ours."""

    # Flask hands every exception to the handler of its nearest ancestor: this is the one place
    # that catches them all.
    @app.errorhandler(Exception)
    def on_error(error: Exception) -> Response:
        return answer(known(error), clock())


def known(error: Exception) -> ClaudeRunError:
    """The error as the caller is told it; what is nobody's but ours is logged and not shown."""
    if isinstance(error, HTTPException) and (error.code or 0) in _BY_STATUS:
        code, message = _BY_STATUS[error.code or 0]
        allow = dict(error.get_headers()).get("Allow")
        headers = {"Allow": allow} if allow else None
        return CallerError(message or wrong_method(allow), code=code, headers=headers)
    if isinstance(error, ClaudeRunError) and not isinstance(error, ConfigurationError):
        return error
    log.error("unexpected error", exc_info=error)
    return ClaudeRunError(_WRONG)


def answer(error: ClaudeRunError, now: datetime) -> Response:
    """An error as an HTTP answer: a page's where the request has set one (`g.error_page`)."""
    page: Callable[[ClaudeRunError], Response] | None = g.get("error_page")
    if page is not None:
        response = page(error)
    elif request.path == RUN and request.method == "POST":
        response = jsonify(error_data(error))
    else:
        response = jsonify(envelope(error.code, error.message, now))
    response.status_code = error.http_status
    response.headers.update(error.headers)
    if response.status_code == Code.UNAVAILABLE.http_status:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    return response
