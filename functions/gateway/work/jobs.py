"""Workers as executions of a Cloud Run job."""

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from claude_run.errors import Code, ConfigurationError, UpstreamError

if TYPE_CHECKING:
    from google.cloud.run_v2 import JobsClient

# Whoever is answered waits for it: GitHub 10 s at most.
CALL_SECONDS = 4.0

# `?endpoint=` is for a server on this machine: there is no TLS to it.
_JOB = re.compile(
    r"(?P<name>projects/[a-z0-9:.-]+/locations/[a-z0-9-]+/jobs/[a-z][a-z0-9-]*)"
    r"(\?endpoint=(?P<endpoint>(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}))?"
)


@dataclass(slots=True, kw_only=True)
class JobStarter:
    """One job. Nothing is connected before the first call; safe under threads."""

    name: str
    endpoint: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _client: "JobsClient | None" = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The job of `WORKER_JOB`, or `ConfigurationError`."""
        found = _JOB.fullmatch(text)
        if found is None:
            raise ConfigurationError(
                "WORKER_JOB must be projects/PROJECT/locations/REGION/jobs/NAME."
            )
        return cls(name=found["name"], endpoint=found["endpoint"])

    def start(self) -> None:
        """Start an execution, without arguments; it is not waited for.

        Asked twice it starts two: each claims its work itself, and finds none if there is none.
        """
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import GoogleAuthError
        from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
        from requests import RequestException

        try:
            self._connected().run_job(name=self.name, timeout=CALL_SECONDS, retry=None)
        except (GoogleAPICallError, GoogleAuthError, RequestException, ParseError) as error:
            # The last two the REST client lets through. Google's text stays out: no rule says what
            # is in it.
            raise UpstreamError(
                f"Google does not start the worker ({type(error).__name__}).",
                code=Code.UNAVAILABLE,
            ) from None

    def close(self) -> None:
        """Executions live on by themselves."""

    def _connected(self) -> "JobsClient":
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.run_v2 import JobsClient
        from google.cloud.run_v2.services.jobs.transports import JobsRestTransport

        with self._lock:
            if self._client is None:
                # REST: one call in a while is not worth gRPC's threads.
                transport = (
                    JobsRestTransport(
                        host=self.endpoint,
                        url_scheme="http",
                        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
                    )
                    if self.endpoint
                    else JobsRestTransport()
                )
                self._client = JobsClient(transport=transport)
            return self._client
