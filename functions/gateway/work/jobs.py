"""Workers as executions of a Cloud Run job."""

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from gateway.run_api import Resource, translated

if TYPE_CHECKING:
    from google.cloud.run_v2 import JobsClient

# Whoever is answered waits for it: GitHub 10 s at most.
CALL_SECONDS = 4.0


@dataclass(slots=True, kw_only=True)
class JobStarter:
    """One job. Nothing is connected before the first call; safe under threads."""

    resource: Resource
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _client: "JobsClient | None" = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The job of `WORKER_JOB`, or `ConfigurationError`."""
        return cls(resource=Resource.parse(text, kind="jobs", setting="WORKER_JOB"))

    def start(self) -> None:
        """Start an execution, without arguments; it is not waited for.

        Asked twice it starts two: each claims its work itself, and finds none if there is none.
        """
        with translated("start the worker"):
            self._connected().run_job(name=self.resource.name, timeout=CALL_SECONDS, retry=None)

    def close(self) -> None:
        """Executions live on by themselves."""

    def _connected(self) -> "JobsClient":
        from google.cloud.run_v2 import JobsClient
        from google.cloud.run_v2.services.jobs.transports import JobsRestTransport

        with self._lock:
            if self._client is None:
                self._client = JobsClient(transport=self.resource.transport(JobsRestTransport))
            return self._client
