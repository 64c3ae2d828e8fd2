"""A WSGI application that comes to be with its first request, in the process that serves it."""

import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from claude_run import spans
from gateway.http.targets import Target, open_target

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from gateway.instance import Instance
    from gateway.service import Gateway
    from gateway.settings import CommonSettings


class LazyApp:
    """A target's routes. Before the first request nothing is imported, opened or started."""

    def __init__(self, target: Target, settings: "CommonSettings") -> None:
        self._target = target
        self._settings = settings
        self._lock = threading.Lock()
        self._app: WSGIApplication | None = None
        self._instance: Instance | None = None

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Serve a request."""
        return (self._app or self._made())(environ, start_response)

    def _made(self) -> "WSGIApplication":
        with self._lock:
            if self._app is None:
                from gateway.http.app import create_app

                spans.start("claude-run-gateway", os.environ)
                self._instance = open_target(self._target, self._settings)
                self._app = create_app(self._instance, self._target)
                if self._target is Target.GATEWAY and not self._settings.on_cloud:
                    # Deployed, a scheduler calls the sweep.
                    self._gateway().sweep.start_timer()
            return self._app

    def _gateway(self) -> "Gateway":
        from gateway.service import Gateway

        assert isinstance(self._instance, Gateway)  # noqa: S101 - as `open_target` gives it
        return self._instance

    def drain(self) -> None:
        """End what is driven here, if anything ever was."""
        if self._instance is not None:
            self._instance.drain()
