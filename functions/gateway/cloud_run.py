"""A Cloud Run service as Google's API describes it: asking that starts no instance."""

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from claude_run.errors import Code, UpstreamError
from gateway.run_api import Resource, translated

if TYPE_CHECKING:
    from google.cloud.run_v2 import ServicesClient

CALL_SECONDS = 2.5


@dataclass(slots=True, kw_only=True)
class CloudRunService:
    """One service. Nothing is connected before the first call; safe under threads."""

    resource: Resource
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _client: "ServicesClient | None" = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The service of `RUNNER_SERVICE`, or `ConfigurationError`."""
        return cls(resource=Resource.parse(text, kind="services", setting="RUNNER_SERVICE"))

    def check_ready(self) -> None:
        """Raise `UpstreamError` unless the service's newest revision serves."""
        from google.cloud.run_v2 import Condition

        with translated("say how the service is"):
            service = self._connected().get_service(
                name=self.resource.name, timeout=CALL_SECONDS, retry=None
            )
        state = service.terminal_condition.state
        if state != Condition.State.CONDITION_SUCCEEDED:
            raise UpstreamError(f"The service is not ready ({state.name}).", code=Code.UNAVAILABLE)

    def _connected(self) -> "ServicesClient":
        from google.cloud.run_v2 import ServicesClient
        from google.cloud.run_v2.services.services.transports import ServicesRestTransport

        with self._lock:
            if self._client is None:
                transport = self.resource.transport(ServicesRestTransport)
                self._client = ServicesClient(transport=transport)
            return self._client
