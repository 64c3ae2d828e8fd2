"""Before and after every request: who calls, how often, and what every answer carries."""

import re
import time
from uuid import uuid4

import structlog
from flask import Flask, Response, g, request

from claude_run import spans, tracing
from claude_run.errors import ClaudeRunError
from claude_run.identity import Caller, Mode, authenticate, check_local_request
from claude_run.idtoken import Certificates
from gateway.http import cors
from gateway.http.routes import HEALTH, template
from gateway.limits import Allowance
from gateway.service import Gateway

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Guard:
    """Around all routes of an app."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._settings = gateway.settings
        self._local = gateway.settings.auth.mode is Mode.LOCAL
        self._certificates = Certificates() if gateway.settings.auth.mode is Mode.VERIFY else None

    def install(self, app: Flask) -> None:
        """Stand before every view, and behind it."""
        app.before_request(self.before)
        app.after_request(self.after)

    def before(self) -> Response | None:
        """Refuse, or let through with `g.caller` and `g.allowance` set."""
        g.began = time.monotonic()
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        # Threads are used again: what the last request has bound is not ours.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)
        tracing.enter(tracing.from_headers(request.headers.items()))
        if request.path != HEALTH:
            g.span = spans.span("gateway.request", serves=True, request_id=g.request_id)
            g.span.enter()
        if self._local:
            check_local_request(
                request.method,
                request.headers,
                int(request.environ["SERVER_PORT"]),
                allowed_origins=self._settings.allowed_origins,
            )
        if cors.is_preflight(request):
            return cors.preflight(request, self._settings.allowed_origins, local=self._local)
        if request.path == HEALTH:
            # Probes have no token; to them it says less.
            g.caller = self._caller_or_none()
            return None
        g.caller = self._authenticated()
        g.allowance = self._gateway.limits.take(g.caller.sub, self._gateway.clock())
        return None

    def _authenticated(self) -> Caller:
        return authenticate(self._settings.auth, request.headers, certificates=self._certificates)

    def _caller_or_none(self) -> Caller | None:
        try:
            return self._authenticated()
        except ClaudeRunError:
            return None

    def after(self, answer: Response) -> Response:
        """What every answer carries; and it is counted."""
        answer.headers["X-Request-Id"] = g.request_id
        allowance: Allowance | None = g.get("allowance")
        if allowance is not None:
            answer.headers.update(allowance.headers())
        answer.headers.setdefault("Cache-Control", "no-store")
        answer.headers["X-Content-Type-Options"] = "nosniff"
        cors.allow(request, answer, self._settings.allowed_origins, local=self._local)
        rule = request.url_rule
        route = template(rule.rule) if rule is not None else ""
        self._gateway.metrics.request(route, answer.status_code, time.monotonic() - g.began)
        if (span := g.get("span")) is not None:
            span.set(route=route, status=answer.status_code)
            # With the last byte of its stream, not with the first.
            answer.call_on_close(span.end)
        return answer
