"""`POST /run` on `api`: the runner's, with the vault's key, limits, quota and accounting."""

import select
from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response, g, jsonify, request

from claude_run.errors import Code
from claude_run.wire import parse_run_request
from gateway.forwarding import Forwarder
from gateway.http import routes, stream
from gateway.http.body import read_json_body
from gateway.ledger import RETRY_SECONDS

_LEFT = select.POLLRDHUP | select.POLLHUP | select.POLLERR


def install(app: Flask, forwarder: Forwarder) -> None:
    """Add the route."""

    @app.post(routes.RUN)
    def run() -> Response:
        wanted = parse_run_request(read_json_body(request))
        forwarded = forwarder.open(
            wanted, request_id=g.request_id, has_left=_leaving(request.environ)
        )
        if not wants_object(request):
            answer = stream.answer(forwarded.stream(), forwarded.headers, opened=True)
            # A stream that was never begun has no end of its own.
            answer.call_on_close(forwarded.close)
            return answer
        status, body = forwarded.whole(g.request_id)
        answer = jsonify(body)
        answer.status_code = status
        answer.headers.update(forwarded.headers)
        if status == Code.QUOTA_EXCEEDED.http_status:
            answer.headers["Retry-After"] = str(RETRY_SECONDS)
        return answer


def wants_object(request: Request) -> bool:
    """Whether the caller asks for one JSON object and not for a stream."""
    accept = request.headers.get("Accept", "").lower().split(",")
    kinds = [kind.partition(";")[0].strip() for kind in accept]
    return "application/json" in kinds and "text/event-stream" not in kinds


def _leaving(environ: dict[str, Any]) -> Callable[[], bool]:
    """Ask the connection whether the caller has closed it: a write would tell 15 s later."""
    sock = environ.get("gunicorn.socket")

    def has_left() -> bool:
        if sock is None:
            return False
        poll = select.poll()
        try:
            poll.register(sock, _LEFT)
            return bool(poll.poll(0))
        except (OSError, ValueError):  # closed on our side
            return True

    return has_left
