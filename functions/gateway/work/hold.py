"""An item in the hands of a worker: its lease renewed while it is worked on, its steps fenced."""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import structlog

from claude_run.errors import ClaudeRunError, Code, StoppedError
from gateway.store import StoreUnavailableError, Transaction
from gateway.work.claims import Claims
from gateway.work.record import StaleWorkError, State, WorkItem

log = structlog.get_logger()

T = TypeVar("T")

RENEW_SECONDS = 8.0
# After the store could not answer.
RETRY_SECONDS = 1.0
JOIN_SECONDS = 5.0


class Stoppable(Protocol):
    """What drives a turn."""

    def stop(self, error: ClaudeRunError) -> None:
        """End it from another thread, for this reason."""


class Hold:
    """One item. Enter it to have its lease renewed; used by one thread, stopped by any."""

    def __init__(self, claims: Claims, item: WorkItem) -> None:
        self._claims = claims
        self.item = item
        # Until when it was put off, if it was.
        self.aside: datetime | None = None
        self._left = threading.Event()
        self._lock = threading.Lock()
        self._driven: Stoppable | None = None
        self._interruption: ClaudeRunError | None = None
        self._thread = threading.Thread(target=self._renew, name=f"lease-{item.key}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._left.set()
        self._thread.join(JOIN_SECONDS)

    # --- its steps ---------------------------------------------------------------------------

    def begin(
        self,
        *,
        session: str,
        branch: str | None = None,
        comment: int | None = None,
        facts: Mapping[str, Any],
        within: Callable[[Transaction], T],
    ) -> T:
        """As `Claims.begin`."""
        self.item, result = self._claims.begin(
            self.item,
            session=session,
            branch=branch,
            comment=comment,
            facts=facts,
            within=within,
        )
        return result

    def produced(self, outcome: Mapping[str, Any]) -> None:
        """As `Claims.produced`."""
        self.item = self._claims.produced(self.item, outcome)

    def published(self, publication: Mapping[str, Any]) -> None:
        """As `Claims.published`."""
        self.item = self._claims.published(self.item, publication)

    def finish(self, state: State, *, outcome: Mapping[str, Any] | None = None) -> None:
        """As `Claims.finish`."""
        self._claims.finish(self.item, state, outcome=outcome)
        self._left.set()

    def set_aside(self, until: datetime, *, counts: bool, told_waiting: bool = False) -> None:
        """As `Claims.set_aside`."""
        self._claims.set_aside(self.item, until=until, counts=counts, told_waiting=told_waiting)
        self.aside = until
        self._left.set()

    # --- being stopped -----------------------------------------------------------------------

    def driving(self, driven: Stoppable | None) -> None:
        """What an interruption has to stop from now on."""
        with self._lock:
            self._driven = driven
            if driven is not None and self._interruption is not None:
                driven.stop(self._interruption)

    def interrupt(self, error: ClaudeRunError) -> None:
        """Stop what is driven, or will be."""
        with self._lock:
            self._interruption = self._interruption or error
            if self._driven is not None:
                self._driven.stop(self._interruption)

    def check(self) -> None:
        """Raise what it was interrupted for, if it was."""
        with self._lock:
            if self._interruption is not None:
                raise self._interruption

    @property
    def left(self) -> bool:
        """Whether it was finished or given back: it is somebody else's now."""
        return self._left.is_set()

    @property
    def interrupted(self) -> bool:
        """Whether somebody wants it to be left where it is."""
        with self._lock:
            return self._interruption is not None

    def _renew(self) -> None:
        wait = RENEW_SECONDS
        while not self._left.wait(wait):
            wait = RENEW_SECONDS
            try:
                self._claims.renew(self.item)
            except StaleWorkError:
                # Or finished, by our own thread, this very moment; then there is nothing to stop.
                self.interrupt(_taken_over())
                return
            except StoreUnavailableError as error:
                # It may still be ours; what we write is refused if it is not.
                log.warning("a lease was not renewed", work=self.item.key, reason=error.reason)
                wait = RETRY_SECONDS


def _taken_over() -> ClaudeRunError:
    return StoppedError("Another worker has taken this over.", code=Code.INTERRUPTED)
