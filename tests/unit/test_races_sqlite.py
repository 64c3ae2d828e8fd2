"""Limits, quota and the work queue under races, in SQLite.

And that the suite would see it if they were inexact.
"""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.limit_settings import LimitSettings
from gateway.limits import Limits
from gateway.store import Document, Query, Schema, Store, Transaction, Write, ping
from gateway.store.interface import READ_SECONDS
from quota_contract import RaceContract
from quota_steps import (
    COLLECTIONS,
    NOON,
    TEN_A_MINUTE,
    THREE_SESSIONS,
    TWELVE_DOLLARS,
    is_taken,
    opened,
    start,
)
from store_contract import all_at_once
from work_contract import WorkContract

T = TypeVar("T")
RACING = 20


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a file that is not there yet."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    return f"sqlite://{tmp_path}/state/gateway.db"


class TestRacesOnSqlite(RaceContract):
    """The suite that Firestore passes too."""


class TestWorkOnSqlite(WorkContract):
    """The same of deliveries and workers."""


class ReadsOutside:
    """A store whose transactions read before they begin: the mechanism taken out.

    All that race have read before one writes.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._schema = Schema(COLLECTIONS)
        self._have_read = threading.Barrier(RACING)

    def get(self, path: str, *, seconds: float = READ_SECONDS) -> Document | None:
        """The document."""
        return self._store.get(path, seconds=seconds)

    def query(self, query: Query) -> list[Document]:
        """The documents."""
        return self._store.query(query)

    def write(self, writes: Iterable[Write]) -> None:
        """Write."""
        self._store.write(writes)

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Read, think, and only then write in a transaction."""
        transaction = Transaction(self._schema, self._store)
        result = work(transaction)
        self._have_read.wait(10)
        self._store.write(transaction.writes)
        return result

    def close(self) -> None:
        """Close."""
        self._store.close()


@pytest.fixture
def weak(url: str) -> ReadsOutside:
    """Such a store."""
    store = opened(url)
    ping(store, seconds=5)
    return ReadsOutside(store)


def test_limits_that_read_outside_the_transaction_are_passed(weak: ReadsOutside) -> None:
    """All twenty where ten are allowed: the transaction is what holds."""
    taken = all_at_once(RACING, lambda _: is_taken(Limits(weak, TEN_A_MINUTE), NOON))
    assert sum(taken) == RACING


@pytest.mark.parametrize("settings", [THREE_SESSIONS, TWELVE_DOLLARS])
def test_a_quota_that_reads_outside_the_transaction_is_passed(
    weak: ReadsOutside, settings: LimitSettings
) -> None:
    """Every start gets a reservation, and the last one to write is the only one on record."""
    started = all_at_once(RACING, lambda n: start(weak, settings, f"run-{n}"))
    assert all(started)
