"""Before and after every request of a caller: who it is, how often, from which pages."""

import os
import sys
from collections.abc import Collection, Mapping
from typing import Any

from flask import Flask, Response, g, request

from claude_run.errors import CallerError, ClaudeRunError, Code
from claude_run.identity import Caller, Mode, authenticate, check_local_request
from claude_run.idtoken import Certificates
from claude_run.peers import AGENT_UIDS, is_agent
from gateway.http import cors
from gateway.http.routes import HEALTH
from gateway.limits import Allowance
from gateway.service import Gateway


class Guard:
    """Around all routes of an app but those of `open_paths`, which have rules of their own."""

    def __init__(self, gateway: Gateway, *, open_paths: Collection[str] = ()) -> None:
        self._gateway = gateway
        self._settings = gateway.settings
        self._open_paths = frozenset(open_paths)
        self._local = gateway.settings.auth.mode is Mode.LOCAL
        # Runs have users of their own on Linux alone; whoever has ours is none of theirs.
        runs_here = self._local and sys.platform == "linux"
        self._knows_agents = runs_here and os.getuid() not in AGENT_UIDS
        self._certificates = Certificates() if gateway.settings.auth.mode is Mode.VERIFY else None

    def install(self, app: Flask) -> None:
        """Stand before every view, and behind it."""
        app.before_request(self.before)
        app.after_request(self.after)

    def before(self) -> Response | None:
        """Refuse, or let through with `g.caller` and `g.allowance` set."""
        if self._knows_agents:
            _refuse_agents(request.environ)
        if request.path in self._open_paths:
            return None
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
        """What the answer to a caller carries."""
        if request.path in self._open_paths:
            return answer
        allowance: Allowance | None = g.get("allowance")
        if allowance is not None:
            answer.headers.update(allowance.headers())
        cors.allow(request, answer, self._settings.allowed_origins, local=self._local)
        return answer


def _refuse_agents(environ: Mapping[str, Any]) -> None:
    """A run on this machine shares the loopback with whoever may call: no other rule stops it."""
    port = environ.get("REMOTE_PORT")
    client = (str(environ.get("REMOTE_ADDR")), int(port)) if port else None
    if is_agent(client, int(environ["SERVER_PORT"])):
        raise CallerError("A run may not call the gateway.", code=Code.FORBIDDEN)
