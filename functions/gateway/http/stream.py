"""An event stream as an answer."""

from collections.abc import Iterator, Mapping

import structlog
from flask import Response

log = structlog.get_logger()

CONTENT_TYPE = "text/event-stream; charset=utf-8"
# At once, so that proxies and callers see the stream open before anything is said.
OPEN = b": stream open\n\n"


def answer(chunks: Iterator[bytes], headers: Mapping[str, str] | None = None) -> Response:
    """An answer that is sent as it is made. Whoever leaves closes `chunks`."""
    response = Response(_sent(chunks), content_type=CONTENT_TYPE, headers=dict(headers or {}))
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _sent(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield OPEN
    try:
        yield from chunks
    except Exception:
        # Too late for another answer. The client sees no end of what it waits for, and comes back.
        log.exception("a stream broke")
