"""Looks at what the gateway depends on: all at once, each with a deadline, kept for seconds."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass

import structlog

from claude_run.errors import ClaudeRunError, ConfigurationError

log = structlog.get_logger()

CHECK_SECONDS = 3.0
# So long an outcome is told again: whoever asks often costs the store nothing.
KEPT_SECONDS = 5.0
LATE = "It does not answer in time."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a look has found; `value` is the check's own, None where it failed."""

    ok: bool
    message: str
    value: object = None


# Raises `ClaudeRunError` for what is not well.
Check = Callable[[], object]


class Checks:
    """Checks by name. One caller looks, all others wait for what it finds."""

    def __init__(
        self, checks: Mapping[str, Check], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._checks = checks
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._found: Mapping[str, Outcome] = {}
        self._until = float("-inf")
        # A check that is late is not started again beside itself.
        self._under_way: dict[str, Future[object]] = {}

    def look(self) -> Mapping[str, Outcome]:
        """What all of them find, at most `KEPT_SECONDS` old."""
        with self._lock:
            if self._monotonic() >= self._until:
                self._found = self._looked()
                self._until = self._monotonic() + KEPT_SECONDS
            return self._found

    def _looked(self) -> dict[str, Outcome]:
        for name, check in self._checks.items():
            if name not in self._under_way:
                self._under_way[name] = _begun(name, check)
        deadline = time.monotonic() + CHECK_SECONDS
        return {name: self._outcome(name, deadline - time.monotonic()) for name in self._checks}

    def _outcome(self, name: str, seconds: float) -> Outcome:
        under_way = self._under_way[name]
        if not wait([under_way], max(0.0, seconds)).done:
            return Outcome(ok=False, message=LATE)
        del self._under_way[name]
        error = under_way.exception()
        if error is None:
            return Outcome(ok=True, message="", value=under_way.result())
        if isinstance(error, ClaudeRunError) and not isinstance(error, ConfigurationError):
            return Outcome(ok=False, message=error.message)
        log.error("a check failed", check=name, exc_info=error)
        return Outcome(ok=False, message="It could not be checked.")


def status_of(found: Mapping[str, Outcome]) -> str:
    """`unhealthy` where nothing can be done, `degraded` where something cannot."""
    # Without the store no request is served; without runner or vault the logs still can be read.
    if not found["store"].ok:
        return "unhealthy"
    return "healthy" if all(outcome.ok for outcome in found.values()) else "degraded"


def _begun(name: str, check: Check) -> "Future[object]":
    future: Future[object] = Future()

    def run() -> None:
        try:
            future.set_result(check())
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            future.set_exception(error)

    threading.Thread(target=run, name=f"check-{name}", daemon=True).start()
    return future
