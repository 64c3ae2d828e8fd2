"""The functions' entry points, as functions-framework finds them by name. Only wiring.

    functions-framework --source functions/main.py --target gateway --host 127.0.0.1

Under functions-framework this checks the settings and opens nothing: gunicorn imports it in its
master, before it forks. The application is made by the first request, in the worker.
"""

import os
import sys
from functools import cache

import click
from flask import Request, current_app, has_app_context
from werkzeug.wrappers import Response

from claude_run import logs
from claude_run.errors import ConfigurationError
from claude_run.loopback import is_loopback
from gateway.http import server
from gateway.http.lazy import LazyApp
from gateway.http.targets import Target, read_settings


@cache
def _app(target: Target) -> LazyApp:
    # As functions-framework binds: its own default is every address.
    context = click.get_current_context(silent=True)
    host = (context.params.get("host") if context is not None else None) or "0.0.0.0"  # noqa: S104
    settings = read_settings(target, os.environ, loopback=is_loopback(host))
    logs.configure(project=settings.project)
    return LazyApp(target, settings)


def webhook(request: Request) -> Response:
    """GitHub's deliveries."""
    return Response.from_app(_app(Target.WEBHOOK), request.environ)


def setup(request: Request) -> Response:
    """The pages that set an App and a key up."""
    return Response.from_app(_app(Target.SETUP), request.environ)


def api(request: Request) -> Response:
    """Sessions, runs, health and metrics, for callers."""
    return Response.from_app(_app(Target.API), request.environ)


def gateway(request: Request) -> Response:
    """All routes under one origin, as on a laptop."""
    return Response.from_app(_app(Target.GATEWAY), request.environ)


def _start(name: str) -> None:
    """Check, and put ourselves before functions-framework's own routes."""
    try:
        app = _app(Target(name))
    except ConfigurationError as error:
        sys.exit(f"The gateway cannot start: {error.message}")
    except ValueError:
        sys.exit(f"There is no target {name!r}: it is one of {', '.join(Target)}")
    server.prepare(app.drain)
    # It runs this module within its application, whose routes are not all ours: two paths it
    # answers itself, `//` it redirects, and after an answer it reads the rest of a request into
    # memory, however long. The functions above answer as well, behind all that.
    current_app.wsgi_app = app  # type: ignore[method-assign]


if has_app_context():
    # functions-framework has just set it.
    _start(os.environ.get("FUNCTION_TARGET", ""))
