"""Looks for what was left lying: work, sessions, deliveries that never came."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from claude_run.errors import ClaudeRunError
from gateway.sessions.registry import Registry
from gateway.work.claims import Claims
from gateway.work.starter import Starter, try_to_start

log = structlog.get_logger()

# Each takes one item after the other; a deployment runs 5 sessions at once unless told otherwise.
MAX_STARTED = 5
# GitHub need not be asked as often as our own store.
ASK_SECONDS = 60.0
# On a laptop, where nobody calls the sweep.
EVERY_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep has set going: workers, ends of sessions, deliveries."""

    workers: int
    sessions: int
    redeliveries: int


@dataclass(slots=True, kw_only=True)
class Sweep:
    """One for each process; safe under threads.

    `ask` has failed deliveries come again, and returns how many.
    """

    claims: Claims
    registry: Registry
    starter: Starter
    ask: Callable[[], int]
    monotonic: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _asked_at: float = float("-inf")
    _timer: threading.Thread | None = None
    _stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Swept:
        """Once. `StoreUnavailableError` passes: it has to be called again."""
        # What nobody else takes up comes first: a reader ends a session, too, and one that cannot
        # be ended must not stand in the way.
        workers, redeliveries = self._start(), self._ask()
        sessions = self.registry.finalise_orphans()
        swept = Swept(workers=workers, sessions=sessions, redeliveries=redeliveries)
        if swept != Swept(workers=0, sessions=0, redeliveries=0):
            log.info(
                "swept",
                workers=swept.workers,
                sessions=swept.sessions,
                redeliveries=swept.redeliveries,
            )
        return swept

    def _start(self) -> int:
        due = self.claims.due(at_most=MAX_STARTED)
        for started in range(due):
            if not try_to_start(self.starter):
                return started
        return due

    def _ask(self) -> int:
        with self._lock:
            if self.monotonic() < self._asked_at + ASK_SECONDS:
                return 0
            self._asked_at = self.monotonic()
        try:
            return self.ask()
        except ClaudeRunError as error:
            log.warning("GitHub was not asked for deliveries", reason=error.message)
            return 0

    # --- by itself ---------------------------------------------------------------------------

    def start_timer(self, *, every: float = EVERY_SECONDS) -> None:
        """Sweep now and then from now on, until `close`. Not before a fork."""
        self._timer = threading.Thread(
            target=self._repeat, args=(every,), name="sweep", daemon=True
        )
        self._timer.start()

    def close(self) -> None:
        """No more of it."""
        self._stopped.set()

    def _repeat(self, every: float) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            pause = every
            try:
                self.run()
            except ClaudeRunError as error:
                log.warning("the sweep failed", reason=error.message)
            except Exception:
                log.exception("the sweep failed")
