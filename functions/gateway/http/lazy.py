"""A WSGI application that comes to be with its first request, in the process that serves it."""

import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from claude_run import spans

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from gateway.service import Gateway
    from gateway.settings import Settings


class LazyApp:
    """All routes. Before the first request nothing of it is imported, opened or started."""

    def __init__(self, settings: "Callable[[], Settings]") -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._app: WSGIApplication | None = None
        self._gateway: Gateway | None = None

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Serve a request."""
        return self._made()(environ, start_response)

    def _made(self) -> "WSGIApplication":
        with self._lock:
            if self._app is None:
                from gateway.http.app import create_app
                from gateway.http.routes import ROUTES
                from gateway.opening import open_gateway

                spans.start("claude-run-gateway", os.environ)
                self._gateway = open_gateway(self._settings(), routes=ROUTES)
                self._app = create_app(self._gateway)
            return self._app

    def drain(self) -> None:
        """End what is driven here, if anything ever was."""
        if self._gateway is not None:
            self._gateway.drain()
