"""`POST /internal/sweep`: for the scheduler, and for operators."""

from flask import Flask, Response, g, jsonify

from claude_run.errors import CallerError, Code
from claude_run.identity import Caller
from gateway.http import routes
from gateway.service import Gateway


def install(app: Flask, gateway: Gateway) -> None:
    """Add the route."""
    scheduler = gateway.settings.scheduler_account

    @app.post(routes.SWEEP)
    def sweep() -> Response:
        _check(g.caller, scheduler)
        swept = gateway.sweep.run()
        return jsonify(
            workers=swept.workers,
            sessions=swept.sessions,
            redeliveries=swept.redeliveries,
        )


def _check(caller: Caller, scheduler: str | None) -> None:
    is_scheduler = scheduler is not None and caller.email == scheduler
    if not (caller.operator or is_scheduler):
        raise CallerError("The scheduler and operators only.", code=Code.FORBIDDEN)
