"""The Flask application of `api` and `gateway`."""

from flask import Flask

from gateway.http import errors, run, sessions, status
from gateway.http.guard import Guard
from gateway.service import Gateway


def create_app(gateway: Gateway) -> Flask:
    """All routes, around one gateway."""
    # No static files, and no answer of Flask's own to OPTIONS: what is not a route is 404 or 405.
    app = Flask("gateway", static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    # A path means itself: no redirect from one to another.
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    errors.install(app, gateway.clock)
    Guard(gateway).install(app)
    sessions.install(app, gateway)
    run.install(app, gateway.forwarder)
    status.install(app, gateway)
    return app
