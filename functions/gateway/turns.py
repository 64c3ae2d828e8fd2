"""Those who want the same document at once take turns, within one process.

Firestore lets all of them read, and then all but one find out at their commit, or wait for locks
that none can get: seconds for what takes milliseconds in turn. What decides is still the
transaction: other processes know nothing of these turns.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.forks import forget_after_fork
from gateway.store import StoreUnavailableError

# Names share locks, so that there is no end to names; few enough of them meet by chance.
LOCKS = 256
WAIT_SECONDS = 5.0


class Turns:
    """Locks by name."""

    def __init__(self, *, seconds: float = WAIT_SECONDS) -> None:
        self._seconds = seconds
        self.forget()
        forget_after_fork(self)

    @contextmanager
    def taking(self, name: str) -> Iterator[None]:
        """Hold the turn for a name; `StoreUnavailableError` if it does not come in time."""
        lock = self._locks[hash(name) % LOCKS]
        if not lock.acquire(timeout=self._seconds):
            raise StoreUnavailableError("too many wait for the same document")
        try:
            yield
        finally:
            lock.release()

    def forget(self) -> None:
        """After a fork: whoever held a turn is not here."""
        self._locks = [threading.Lock() for _ in range(LOCKS)]
