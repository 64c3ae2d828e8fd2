"""What operators, monitors and tools look at: health, metrics, the runner, the description."""

from flask import Flask, Response, g, jsonify, request

from claude_run import __version__
from gateway.http import routes
from gateway.http.deliveries import check_operator
from gateway.prometheus import exposition
from gateway.requests import parse_flag
from gateway.service import Gateway


def install(app: Flask, gateway: Gateway) -> None:
    """Add the routes."""
    health, runner = gateway.health, gateway.runner

    @app.get(routes.HEALTH)
    def show_health() -> Response:
        body = health.body(brief=g.caller is None)
        answer = jsonify(body)
        answer.status_code = 503 if body["status"] == "unhealthy" else 200
        return answer

    @app.get(routes.METRICS)
    def metrics() -> Response:
        figures = health.figures()
        return jsonify(
            figures.counts.metrics_body(
                active=figures.quota.running,
                started_at=figures.started_at,
                now=gateway.clock(),
                version=__version__,
            )
        )

    @app.get(routes.PROMETHEUS)
    def prometheus() -> Response:
        figures = health.figures()
        text, content_type = exposition(figures.counts, active=figures.quota.running)
        return Response(text, content_type=content_type)

    @app.get(routes.GITHUB_STATUS)
    def github_status() -> Response:
        status = gateway.facts.status()
        if parse_flag("check", request.args.to_dict(flat=False)):
            check_operator()
            status["check"] = gateway.github.check()
        return jsonify(status)

    @app.get(routes.CONTAINER)
    def container() -> Response:
        runner.probe()
        return Response("Container is healthy", content_type="text/plain; charset=utf-8")

    # One service stands behind both: it balances by itself, and each run has an instance alone.
    @app.get(routes.LOAD_BALANCED)
    @app.get(routes.SINGLETON)
    def probe() -> Response:
        seen = runner.probe()
        answer = jsonify(
            status="ok",
            instanceId=seen.instance_id,
            milliseconds=round(seen.seconds * 1000, 1),
        )
        if seen.instance_id is not None:
            answer.headers["X-Instance-Id"] = seen.instance_id
        return answer

    @app.get(routes.OPENAPI)
    def description() -> Response:
        # Forty schemas that no other route needs.
        from gateway.http.openapi import document

        return jsonify(document())
