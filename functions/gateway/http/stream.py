"""An event stream as an answer."""

from collections.abc import Iterator, Mapping

import structlog
from flask import Response, request

from claude_run.sse import OPEN

log = structlog.get_logger()

CONTENT_TYPE = "text/event-stream; charset=utf-8"
# How long a reader may take nothing at all: it holds a thread.
STALL_SECONDS = 600.0


def answer(
    chunks: Iterator[bytes], headers: Mapping[str, str] | None = None, *, opened: bool = False
) -> Response:
    """An answer that is sent as it is made. Whoever leaves closes `chunks`.

    `opened`: `chunks` begin with a comment of their own.
    """
    response = Response(
        _sent(chunks, opened=opened), content_type=CONTENT_TYPE, headers=dict(headers or {})
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(STALL_SECONDS)
    return response


def _sent(chunks: Iterator[bytes], *, opened: bool) -> Iterator[bytes]:
    if not opened:
        # At once, so that proxies and callers see it before anything is said.
        yield OPEN
    try:
        yield from chunks
    except Exception:
        # Too late for another answer. The client sees no end of what it waits for, and comes back.
        log.exception("a stream broke")
