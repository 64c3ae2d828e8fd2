"""A worker: takes item after item to its end, until nothing is due."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from claude_run import spans
from claude_run.errors import CallerError, ClaudeRunError, Code, StoppedError, UpstreamError
from gateway.sessions.record import StaleLeaseError
from gateway.store import StoreUnavailableError
from gateway.work.claims import Claims
from gateway.work.hold import Hold
from gateway.work.record import Kind, StaleWorkError, State, WorkItem

log = structlog.get_logger()

# What fails for a moment, for an hour, for a night: then it is given up.
BACKOFF = (
    timedelta(seconds=30),
    timedelta(minutes=3),
    timedelta(minutes=20),
    timedelta(hours=2),
    timedelta(hours=8),
)
MAX_ATTEMPTS = len(BACKOFF) + 1
# Where even giving it up ends the worker each time.
MAX_FAREWELLS = MAX_ATTEMPTS + 3
# How soon somebody who asks to stop is heard, whatever else is done here.
STOP_LOOK_SECONDS = 1.0
JOIN_SECONDS = 5.0
_AGAIN = "It failed again and again, and is given up."


class Steps(Protocol):
    """What is done with items of one kind."""

    def take(self, hold: Hold) -> None:
        """On to its end, or until it is put off or interrupted; raises what fails."""

    def fail(self, hold: Hold, error: ClaudeRunError) -> None:
        """Give it up, and say so where it was served.

        `UpstreamError` where that cannot be said now, as long as another try is left.
        """


@dataclass(slots=True, kw_only=True)
class Worker:
    """One for each process. `run` once, in its main thread; `interrupt` it from any."""

    claims: Claims
    steps: Mapping[Kind, Steps]
    clock: Callable[[], datetime]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _holds: list[Hold] = field(default_factory=list)
    _interruption: ClaudeRunError | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until nothing is due, or it is interrupted. `StoreUnavailableError` passes."""
        listener = threading.Thread(target=self._listen, name="stops", daemon=True)
        listener.start()
        try:
            while not self._is_interrupted() and (item := self.claims.next()) is not None:
                self._work(item)
        finally:
            self._over.set()
            listener.join(JOIN_SECONDS)

    def interrupt(self) -> None:
        """Have what is worked on left where it is, its state stored."""
        with self._lock:
            self._interruption = _shutting_down()
            holds = list(self._holds)
        self._over.set()
        for hold in holds:
            hold.interrupt(_shutting_down())

    def let_go(self) -> None:
        """Give back what is held, in whatever state it is: somebody else goes on with it."""
        with self._lock:
            holds = list(self._holds)
        for hold in holds:
            try:
                hold.set_aside(self.clock(), counts=False)
            except ClaudeRunError as error:
                log.warning("work was not given back", work=hold.item.key, reason=error.message)

    # --- one item ----------------------------------------------------------------------------

    def _work(self, item: WorkItem) -> None:
        hold = Hold(self.claims, item)
        with self._lock:
            self._holds.append(hold)
            if self._interruption is not None:
                hold.interrupt(self._interruption)
        try:
            with (
                hold,
                spans.span("worker.item", work=item.key, state=item.state.value),
                structlog.contextvars.bound_contextvars(work=item.key, delivery_id=item.delivery),
            ):
                self._take(hold)
        finally:
            with self._lock:
                self._holds.remove(hold)

    def _take(self, hold: Hold) -> None:
        steps, item = self.steps[hold.item.kind], hold.item
        log.info("work begins", state=item.state, attempt=item.attempts)
        try:
            if item.attempts > MAX_FAREWELLS:
                hold.finish(State.FAILED)
            elif item.attempts > MAX_ATTEMPTS:
                steps.fail(hold, UpstreamError(_AGAIN, code=Code.INTERNAL_ERROR))
            else:
                self._try(steps, hold)
            if hold.interrupted and not hold.left:
                hold.set_aside(self.clock(), counts=False)
        except (StaleWorkError, StaleLeaseError) as error:
            log.warning("work was lost", reason=error.message)
        except StoreUnavailableError:
            # Nothing can be written: its lease runs out, and it is taken over.
            raise
        except Exception:
            log.exception("work failed")
            self._put_off(hold, None)
        log.info("work ends", state=hold.item.state)

    def _try(self, steps: Steps, hold: Hold) -> None:
        try:
            steps.take(hold)
        except (StaleWorkError, StaleLeaseError, StoreUnavailableError):
            raise
        except CallerError as error:
            # Another try would be refused just the same.
            log.warning("work is refused", reason=error.message)
            self._refuse(steps, hold, error)
        except ClaudeRunError as error:
            log.warning("work has to wait", reason=error.message)
            if hold.interrupted:
                return  # it is given back as it is
            if hold.item.attempts >= MAX_ATTEMPTS:
                steps.fail(hold, error)
            else:
                self._put_off(hold, error)

    def _refuse(self, steps: Steps, hold: Hold, error: CallerError) -> None:
        try:
            steps.fail(hold, error)
        except UpstreamError as untold:
            # It would be left standing there as if somebody still worked on it.
            log.warning("a refusal is told later", reason=untold.message)
            self._put_off(hold, untold)

    def _put_off(self, hold: Hold, error: ClaudeRunError | None) -> None:
        if hold.left:
            return
        pause = BACKOFF[min(hold.item.attempts, len(BACKOFF)) - 1]
        asked = error.headers.get("Retry-After", "") if error is not None else ""
        if asked.isdigit():
            pause = max(pause, min(timedelta(seconds=int(asked)), BACKOFF[-1]))
        hold.set_aside(self.clock() + pause, counts=True)

    # --- what cannot wait --------------------------------------------------------------------

    def _listen(self) -> None:
        """Who asks to stop is heard while this worker, and all others, are at something."""
        while not self._over.wait(STOP_LOOK_SECONDS):
            try:
                item = self.claims.next_stop()
                if item is not None:
                    self._work(item)
            except StoreUnavailableError as error:
                log.warning("nobody was heard", reason=error.reason)
            except Exception:
                log.exception("listening failed")

    def _is_interrupted(self) -> bool:
        with self._lock:
            return self._interruption is not None


def _shutting_down() -> ClaudeRunError:
    return StoppedError("The worker is shutting down.", code=Code.SHUTDOWN)
