"""The runner, beyond what the client of everybody does with it: passed on to, and looked at."""

import time
from dataclasses import dataclass, replace
from functools import cached_property

from claude_run.client import run_call
from claude_run.endpoint import Endpoint, Timeouts
from claude_run.errors import CallerError, Code, UpstreamError
from claude_run.tokens import token_source
from claude_run.transport import Call, EventStream, Transport
from claude_run.wire import RunRequest
from gateway.cloud_run import CloudRunService

# An instance may have to start before it answers.
PROBE_TIMEOUTS = Timeouts(connect=5.0, read=20.0, write=5.0, pool=5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Which instance answered, and how fast."""

    instance_id: str | None
    seconds: float


class Runner:
    """The runner at a URL. Nothing is connected before the first call; safe under threads.

    `service`: what Google's API calls it, where it is deployed.
    """

    def __init__(self, url: str, *, service: CloudRunService | None = None) -> None:
        self._endpoint = Endpoint.parse(url)
        self._tokens = token_source(None, self._endpoint, None)
        self._service = service

    # Each costs a TLS context: 20 ms that most starts do not need.
    @cached_property
    def _runs(self) -> Transport:
        return Transport(self._endpoint, self._tokens, Timeouts())

    @cached_property
    def _probes(self) -> Transport:
        return Transport(self._endpoint, self._tokens, PROBE_TIMEOUTS)

    def forward(self, request: RunRequest, *, request_id: str) -> EventStream:
        """Start a run under the request's own id; its bytes are for the caller (`read`)."""
        call = run_call(request)
        call = replace(call, headers={**call.headers, "X-Request-Id": request_id})
        try:
            return self._runs.open(call)
        except CallerError as error:
            if error.code not in (Code.UNAUTHORIZED, Code.FORBIDDEN):
                raise
            # It is we who were refused, not whoever called us.
            raise UpstreamError(
                "The gateway may not call its runner.", code=Code.UNAVAILABLE, status=error.status
            ) from error

    def probe(self) -> Probe:
        """Ask an instance whether it is there, or `UpstreamError`."""
        began = time.monotonic()
        try:
            answer = self._probes.fetch(Call(method="GET", path="/health"))
        except UpstreamError as error:
            # Nothing was asked for that could have happened: it is simply not there.
            raise UpstreamError(error.message, code=Code.UNAVAILABLE) from error
        if answer.status != 200:
            raise UpstreamError(
                f"The runner answered HTTP {answer.status}.",
                code=Code.UNAVAILABLE,
                status=answer.status,
            )
        return Probe(
            instance_id=answer.headers.get("x-instance-id"), seconds=time.monotonic() - began
        )

    def check(self) -> None:
        """Raise `UpstreamError` unless runs can be expected to start."""
        # Where it is known as a service: to probe it would start an instance for every look.
        if self._service is not None:
            self._service.check_ready()
        else:
            self.probe()
