"""The Flask application of each function: what it serves, and nothing of what it does not."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask

from gateway.http import errors, routes
from gateway.http.targets import Target
from gateway.http.watch import Watch
from gateway.instance import Instance


def create_app(gateway: Instance, target: Target) -> Flask:
    """A target's routes, around what `open_target` gave for it."""
    # No static files, and no answer of Flask's own to OPTIONS: what is not a route is 404 or 405.
    app = Flask("gateway", static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    # A path means itself: no redirect from one to another.
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    errors.install(app, gateway.clock)
    Watch(gateway.metrics).install(app)
    for install in _INSTALLED[target]:
        install(app, gateway)
    return app


# Each imports what it installs: a function starts without what the others need.


def _liveness(app: Flask, instance: Instance) -> None:
    from gateway.http import liveness

    liveness.install(app, instance)


def _callers_only(app: Flask, gateway: Any) -> None:  # noqa: ANN401
    from gateway.http.guard import Guard

    Guard(gateway).install(app)


def _callers_and_others(app: Flask, gateway: Any) -> None:  # noqa: ANN401
    from gateway.http.guard import Guard

    Guard(gateway, open_paths=routes.OPEN).install(app)


def _api(app: Flask, gateway: Any) -> None:  # noqa: ANN401
    from gateway.http import deliveries, run, sessions, status, sweep

    sessions.install(app, gateway)
    run.install(app, gateway.forwarder)
    status.install(app, gateway)
    deliveries.install(app, gateway)
    sweep.install(app, gateway)


def _setup(app: Flask, instance: Instance) -> None:
    from gateway.http import setup

    setup.install(app, instance, receives=False)


def _setup_beside_webhook(app: Flask, instance: Instance) -> None:
    from gateway.http import setup

    setup.install(app, instance, receives=True)


def _webhooks(app: Flask, instance: Instance) -> None:
    from gateway.http import webhooks

    webhooks.install(app, instance)


# `Any`: a `Gateway` for those who serve callers. Its class imports all that the others do not.
_INSTALLED: Mapping[Target, tuple[Callable[[Flask, Any], None], ...]] = {
    Target.WEBHOOK: (_liveness, _webhooks),
    Target.SETUP: (_liveness, _setup),
    Target.API: (_callers_only, _api),
    Target.GATEWAY: (_callers_and_others, _api, _webhooks, _setup_beside_webhook),
}
