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
# What a worker waits, altogether, for what it has put off: long enough for what fails for a moment,
# which else would be tried at the next sweep, and on Google Cloud that may be hours away.
STAY = timedelta(minutes=5)
# And how soon it sees that there is something else to do.
LOOK_SECONDS = 5.0
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
    """One for each process. `run` once, in its main thread; `interrupt` it from any.

    `stay`: how long it waits, altogether, for what it has put off itself.
    """

    claims: Claims
    steps: Mapping[Kind, Steps]
    clock: Callable[[], datetime]
    stay: timedelta = timedelta(0)
    _aside: list[datetime] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _holds: list[Hold] = field(default_factory=list)
    _interruption: ClaudeRunError | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until nothing is due, or it is interrupted. `StoreUnavailableError` passes."""
        listener = threading.Thread(target=self._listen, name="stops", daemon=True)
        listener.start()
        stay = self.stay
        try:
            while not self._is_interrupted():
                looked = self.clock()
                if (item := self.claims.next()) is not None:
                    self._work(item)
                elif pause := self._pause(looked, stay):
                    stay -= pause
                    self._over.wait(pause.total_seconds())
                else:
                    return
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

    def _pause(self, looked: datetime, stay: timedelta) -> timedelta:
        """How long to wait for the next that was put off here; nothing where that is too long.

        What was due when it `looked` was there to be taken then.
        """
        with self._lock:
            self._aside = [until for until in self._aside if until > looked]
            left = min(self._aside, default=looked) - looked
        return min(left, timedelta(seconds=LOOK_SECONDS)) if left <= stay else timedelta(0)

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
                if hold.aside is not None:
                    self._aside.append(hold.aside)

    def _take(self, hold: Hold) -> None:
        log.info("work begins", state=hold.item.state, attempt=hold.item.attempts)
        try:
            self._go_on(hold)
        except (StaleWorkError, StaleLeaseError) as error:
            log.warning("work was lost", reason=error.message)
        log.info("work ends", state=hold.item.state)

    def _go_on(self, hold: Hold) -> None:
        steps, attempts = self.steps[hold.item.kind], hold.item.attempts
        try:
            if attempts > MAX_FAREWELLS:
                hold.finish(State.FAILED)
            elif attempts > MAX_ATTEMPTS:
                steps.fail(hold, UpstreamError(_AGAIN, code=Code.INTERNAL_ERROR))
            else:
                self._try(steps, hold)
            if hold.interrupted and not hold.left:
                hold.set_aside(self.clock(), counts=False)
        except (StaleWorkError, StaleLeaseError, StoreUnavailableError):
            # Nothing can be written: it is another's, or its lease runs out and it will be.
            raise
        except Exception:
            log.exception("work failed")
            self._put_off(hold, None)

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
