"""A Cloud Run service as Google's API describes it: asking that starts no instance."""

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from claude_run.errors import Code, ConfigurationError, UpstreamError

if TYPE_CHECKING:
    from google.cloud.run_v2 import ServicesClient

CALL_SECONDS = 2.5

# `?endpoint=` is for a server on this machine: there is no TLS to it.
_SERVICE = re.compile(
    r"(?P<name>projects/[a-z0-9:.-]+/locations/[a-z0-9-]+/services/[a-z][a-z0-9-]*)"
    r"(\?endpoint=(?P<endpoint>(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}))?"
)


@dataclass(slots=True, kw_only=True)
class CloudRunService:
    """One service. Nothing is connected before the first call; safe under threads."""

    name: str
    endpoint: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _client: "ServicesClient | None" = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The service of `RUNNER_SERVICE`, or `ConfigurationError`."""
        found = _SERVICE.fullmatch(text)
        if found is None:
            raise ConfigurationError(
                "RUNNER_SERVICE must be projects/PROJECT/locations/REGION/services/NAME."
            )
        return cls(name=found["name"], endpoint=found["endpoint"])

    def check_ready(self) -> None:
        """Raise `UpstreamError` unless the service's newest revision serves."""
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.run_v2 import Condition
        from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
        from requests import RequestException

        try:
            service = self._connected().get_service(
                name=self.name, timeout=CALL_SECONDS, retry=None
            )
        except (GoogleAPICallError, GoogleAuthError, RequestException, ParseError) as error:
            # The last two the REST client lets through. Google's text stays out: no rule says what
            # is in it.
            raise UpstreamError(
                f"Google does not say how the service is ({type(error).__name__}).",
                code=Code.UNAVAILABLE,
            ) from None
        state = service.terminal_condition.state
        if state != Condition.State.CONDITION_SUCCEEDED:
            raise UpstreamError(f"The service is not ready ({state.name}).", code=Code.UNAVAILABLE)

    def _connected(self) -> "ServicesClient":
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.run_v2 import ServicesClient
        from google.cloud.run_v2.services.services.transports import ServicesRestTransport

        with self._lock:
            if self._client is None:
                # REST: one call in seconds is not worth gRPC's threads.
                transport = (
                    ServicesRestTransport(
                        host=self.endpoint,
                        url_scheme="http",
                        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
                    )
                    if self.endpoint
                    else ServicesRestTransport()
                )
                self._client = ServicesClient(transport=transport)
            return self._client
