"""The deployment's counters: kept in memory for seconds, then added to the store.

Each process adds what it has counted to one of ten documents, by an increment that reads nothing,
so that no instance waits for another. A process that is killed loses what it had not added yet, a
few seconds' worth; these are counters to look at, not accounts.
"""

import threading
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from random import SystemRandom
from typing import Protocol

import structlog

from gateway.counters import (
    CONTAINER_ERRORS,
    CONTAINERS,
    OTHER_ROUTE,
    WEBHOOKS,
    Counts,
    Timing,
    request_fields,
    timing_fields,
)
from gateway.forks import forget_after_fork
from gateway.store import Collection, Increment, Put, Query, Store, StoreUnavailableError, Write

log = structlog.get_logger()

COLLECTION = Collection(name="metrics", expires=False)
SHARDS = 10
# One write in so many seconds from a process that is busy, none from one that is idle. Fifty busy
# ones write once a second to each shard, which is what Firestore wants to see on a document.
FLUSH_SECONDS = 5.0
# At the end of a process; the store itself may take longer than a process has left.
CLOSE_SECONDS = 2.0
# Of the system: processes that were forked from one another would else choose the same shards.
_CHANCE = SystemRandom()


class Writes(Protocol):
    """A store, as far as counting needs one."""

    def write(self, writes: Iterable[Write]) -> None:
        """All of this or nothing."""


class _State:
    """What belongs to one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pending: Counter[str] = Counter()
        self.last_webhook: datetime | None = None
        self.closing = threading.Event()
        self.flusher: threading.Thread | None = None


class Metrics:
    """What this process counts. Safe under threads; a thread exists only while there is something
    to add, so that none does at import.

    `routes` are templates as `/interactive/{id}`: any other path counts as `other`.
    """

    def __init__(self, store: Writes, *, routes: Iterable[str]) -> None:
        self._store = store
        self._routes = frozenset(routes)
        self._state = _State()
        forget_after_fork(self)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        known = route if route in self._routes else OTHER_ROUTE
        self._add(request_fields(known, status, _milliseconds(seconds)))

    def observe(self, timing: Timing, seconds: float) -> None:
        """A run took so long, or its first text, or its wait."""
        self._add(timing_fields(timing, _milliseconds(seconds)))

    def container_started(self) -> None:
        """A run was handed to the runner."""
        self._add({CONTAINERS: 1})

    def container_failed(self) -> None:
        """A run that was handed to the runner failed there."""
        self._add({CONTAINER_ERRORS: 1})

    def webhook(self, now: datetime, *, is_counted: bool = False) -> None:
        """A delivery came. `is_counted`: by the commit of the work that it brought."""
        with self._state.lock:
            self._state.last_webhook = now
        self._add({} if is_counted else {WEBHOOKS: 1})

    def flush(self) -> None:
        """Add to the store what was counted until now; `StoreUnavailableError`: keep it."""
        state = self._state
        with state.lock:
            counted, state.pending = state.pending, Counter()
            last, state.last_webhook = state.last_webhook, None
        writes: list[Write] = []
        if counted:
            writes.append(Increment(_shard("shard"), counted))
        if last is not None:
            # A document of its own: an increment takes numbers only.
            writes.append(Put(_shard("webhook"), {"at": last}))
        if not writes:
            return
        try:
            self._store.write(writes)
        except StoreUnavailableError as error:
            # Where nobody knows whether it was added: rather a few seconds too few than twice.
            if not error.is_outcome_unknown:
                with state.lock:
                    state.pending.update(counted)
                    state.last_webhook = state.last_webhook or last
            raise

    def close(self) -> None:
        """Add the rest, in bounded time."""
        state = self._state
        with state.lock:
            flusher = state.flusher
            state.closing.set()
        if flusher is not None:
            flusher.join(CLOSE_SECONDS)

    def forget(self) -> None:
        """After a fork: what the parent has counted, the parent adds."""
        self._state = _State()

    def _add(self, fields: dict[str, int]) -> None:
        state = self._state
        with state.lock:
            for name, amount in fields.items():  # `update` of a Counter is slower
                state.pending[name] += amount
            if state.flusher is None:
                state.flusher = threading.Thread(
                    target=self._flush_until_idle, name="metrics", daemon=True
                )
                state.flusher.start()

    def _flush_until_idle(self) -> None:
        state = self._state
        while True:
            is_closing = state.closing.wait(FLUSH_SECONDS)
            try:
                self.flush()
            except StoreUnavailableError as error:
                log.warning("metrics were not stored", reason=error.reason)
            with state.lock:
                if is_closing or not (state.pending or state.last_webhook):
                    state.flusher = None
                    return


def webhook_write() -> Write:
    """What a delivery's own commit adds, so that deliveries and their count cannot differ."""
    return Increment(_shard("shard"), {WEBHOOKS: 1})


def read_counts(store: Store) -> Counts:
    """The sums of all processes, as they stand in the store: they never fall."""
    found = store.query(Query(collection=COLLECTION.name, limit=2 * SHARDS))
    times = [document.data["at"] for document in found if document.id.startswith("webhook")]
    return Counts.from_fields(
        (document.data for document in found if document.id.startswith("shard")),
        last=max(times, default=None),
    )


def _shard(kind: str) -> str:
    return f"{COLLECTION.name}/{kind}-{_CHANCE.randrange(SHARDS)}"


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
