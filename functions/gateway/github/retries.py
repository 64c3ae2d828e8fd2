"""Requests made again, beneath PyGithub.

Its own `GithubRetry` sleeps for as long as a limit lasts (an hour), and repeats a POST that
GitHub may have obeyed. A 202 it asks about again every two seconds, until its stack is used up.
"""

from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import structlog
from urllib3 import BaseHTTPResponse, Retry
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, ProtocolError, ResponseError

from gateway.github.patience import MAX_ATTEMPTS, Failure, pause

log = structlog.get_logger()

# Of a GET: for statistics, which we do not ask for. To a POST it is an answer.
_AT_WORK = 202


class Retries(Retry):
    """One for each client; urllib3 derives a new one from it for every try.

    `seconds`: what one call may wait altogether. `unauthorized` is told of a 401.
    """

    def __init__(
        self,
        *,
        seconds: float,
        sleep: Callable[[float], None],
        clock: Callable[[], datetime],
        unauthorized: Callable[[], None] = lambda: None,
        wait: float = 0.0,
        **kept: Any,  # noqa: ANN401 - urllib3's own
    ) -> None:
        # An answer that is not asked for again is PyGithub's to translate.
        super().__init__(**{"total": MAX_ATTEMPTS, **kept, "raise_on_status": False})
        self._seconds = seconds
        self._pause = sleep
        self._clock = clock
        self._unauthorized = unauthorized
        self._wait = wait

    def new(self, **changed: Any) -> Self:  # noqa: ANN401 - urllib3's own
        """As urllib3 copies it."""
        own = {
            "seconds": self._seconds,
            "sleep": self._pause,
            "clock": self._clock,
            "unauthorized": self._unauthorized,
        }
        return super().new(**{**own, **changed})

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:  # noqa: ARG002
        """Whether `increment` is to look at an answer."""
        return status_code in (_AT_WORK, 401, 403, 429) or status_code >= 500

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """The next try, or `MaxRetryError`; `ProtocolError` for an answer that is none yet."""
        if response is not None and response.status == _AT_WORK and method == "GET":
            response.close()
            raise ProtocolError("GitHub is still at work")
        failure = Failure(
            method=method or "POST",
            path=url or "",
            status=response.status if response is not None else None,
            headers=response.headers if response is not None else {},
            sent=not isinstance(error, ConnectTimeoutError),
        )
        if failure.status == 401:
            self._unauthorized()
        left = self.total if isinstance(self.total, int) else 0
        wait = pause(failure, MAX_ATTEMPTS - left, self._clock())
        if wait is None or wait > self._seconds or left <= 1:
            assert _pool is not None  # noqa: S101 - urllib3 always has one
            raise MaxRetryError(_pool, failure.path, error or ResponseError("given up"))
        log.warning("github asked again", status=failure.status, wait_seconds=round(wait, 1))
        return self.new(total=left - 1, seconds=self._seconds - wait, wait=wait)

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:  # noqa: ARG002
        """Wait as `increment` has found."""
        self._pause(self._wait)
