"""Around every request: its id, its trace, its time, and what every answer carries."""

import re
import time
from uuid import uuid4

import structlog
from flask import Flask, Response, g, request

from claude_run import spans, tracing
from gateway.http.routes import HEALTH, template
from gateway.metrics import Metrics

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Watch:
    """Around all routes of an app. It refuses nothing."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def install(self, app: Flask) -> None:
        """Stand before whatever else is installed, and behind it."""
        app.before_request(self.before)
        app.after_request(self.after)

    def before(self) -> None:
        """Give the request its id, and the logs what it is."""
        g.began = time.monotonic()
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        # Threads are used again: what the last request has bound is not ours.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)
        told = ((name, request.headers.get(name, "")) for name in tracing.HEADERS)
        tracing.enter(tracing.from_headers(told))
        if request.path != HEALTH:
            g.span = spans.span("gateway.request", serves=True, request_id=g.request_id)
            g.span.enter()

    def after(self, answer: Response) -> Response:
        """What every answer carries; and it is counted."""
        answer.headers["X-Request-Id"] = g.request_id
        answer.headers.setdefault("Cache-Control", "no-store")
        answer.headers["X-Content-Type-Options"] = "nosniff"
        rule = request.url_rule
        route = template(rule.rule) if rule is not None else ""
        self._metrics.request(route, answer.status_code, time.monotonic() - g.began)
        if (span := g.get("span")) is not None:
            span.set(route=route, status=answer.status_code)
            # With the last byte of its stream, not with the first.
            answer.call_on_close(span.end)
        return answer
