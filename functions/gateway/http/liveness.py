"""`GET /health` of the functions that anybody may call: a status, and nothing else."""

from flask import Flask, Response, jsonify

from gateway.checks import Checks, status_of
from gateway.http import routes
from gateway.instance import Instance
from gateway.store import ping

PING_SECONDS = 2.0


def install(app: Flask, instance: Instance) -> None:
    """Add the route."""
    checks = Checks({"store": lambda: ping(instance.store, seconds=PING_SECONDS)})

    @app.get(routes.HEALTH)
    def show_health() -> Response:
        status = status_of(checks.look())
        answer = jsonify(status=status)
        answer.status_code = 503 if status == "unhealthy" else 200
        return answer
