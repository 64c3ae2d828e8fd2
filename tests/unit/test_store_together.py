"""What many threads write at the same time is committed together, and is still each one's own."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

import pytest

from gateway.store import (
    AlreadyExistsError,
    Create,
    Put,
    Store,
    StoreUnavailableError,
    Transaction,
    open_store,
    sqlite_file,
    sqlite_pool,
)
from gateway.store.groups import Job
from store_contract import COLLECTIONS

BOUND: ContextVar[int] = ContextVar("bound")


class Crowd:
    """Threads that write to a store while its writer is held up, and what became of each."""

    def __init__(self, store: Store, path: Path) -> None:
        self.store = store
        self.outcomes: dict[int, object] = {}
        self.path = path
        self._is_held, self._may_go_on = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []

    def write(self, works: Sequence[Callable[[Transaction], object]]) -> int:
        """Let all come while one is at work, then let them go; how often something was committed.

        What a work returns or raises is its outcome.
        """
        self._start(-1, self._hold)
        assert self._is_held.wait(10)
        groups = self.store._pool._state.groups  # type: ignore[attr-defined]
        for number, work in enumerate(works):
            self._start(number, work)
            deadline = time.monotonic() + 10
            while len(groups._waiting) <= number and time.monotonic() < deadline:
                time.sleep(0.001)
        commits: list[str] = []
        writer = self.store._pool._state.writer  # type: ignore[attr-defined]
        writer.set_trace_callback(lambda said: commits.append(said) if said == "COMMIT" else None)
        self._may_go_on.set()
        for thread in self._threads:
            thread.join(20)
        writer.set_trace_callback(None)
        return len(commits)

    def _hold(self, transaction: Transaction) -> None:
        self._is_held.set()
        self._may_go_on.wait(10)
        transaction.write(Put("parts/first", {}))

    def _start(self, number: int, work: Callable[[Transaction], object]) -> None:
        def run() -> None:
            BOUND.set(number)
            try:
                self.outcomes[number] = self.store.transact(work)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
                self.outcomes[number] = error

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    """A store with one document, `parts/there`."""
    path = tmp_path / "gateway.db"
    store = open_store(f"sqlite://{path}", collections=COLLECTIONS)
    store.write([Put("parts/there", {"n": 0})])
    yield Crowd(store, path)
    store.close()


def creating(name: str) -> Callable[[Transaction], str]:
    """A work that creates a document and counts in another, as it finds it."""

    def work(transaction: Transaction) -> str:
        found = transaction.get("parts/there")
        assert found is not None
        transaction.write(
            Create(f"parts/{name}", {}), Put("parts/there", {"n": found.data["n"] + 1})
        )
        return name

    return work


def test_what_comes_at_once_is_committed_together(crowd: Crowd) -> None:
    """Twenty transactions wait for one sync of the disk; each has seen those before it."""
    assert crowd.write([creating(f"a{number}") for number in range(20)]) == 2
    assert crowd.outcomes == {-1: None} | {number: f"a{number}" for number in range(20)}
    found = crowd.store.get("parts/there")
    assert found is not None
    assert found.data == {"n": 20}


def test_one_that_fails_leaves_no_trace_and_the_others_alone(crowd: Crowd) -> None:
    """Whether it raises itself, or what it writes cannot be."""

    def fails(transaction: Transaction) -> None:
        transaction.write(Put("parts/never", {}))
        raise KeyError("mine")

    def collides(transaction: Transaction) -> None:
        transaction.write(Put("parts/nor", {}), Create("parts/there", {}))

    works = [creating("a"), fails, creating("b"), collides, creating("c")]
    assert crowd.write(works) == 2
    outcomes = crowd.outcomes
    assert [outcomes[number] for number in (0, 2, 4)] == ["a", "b", "c"]
    assert isinstance(outcomes[1], KeyError)
    assert isinstance(outcomes[3], AlreadyExistsError)
    assert crowd.store.get("parts/never") is None
    assert crowd.store.get("parts/nor") is None
    found = crowd.store.get("parts/there")
    assert found is not None
    assert found.data == {"n": 3}


def test_what_is_not_committed_was_nobodys(crowd: Crowd) -> None:
    """A commit that fails is told to all whose work was in it, and leaves nothing of it."""
    writer = crowd.store._pool._state.writer  # type: ignore[attr-defined]
    denied = (sqlite3.SQLITE_TRANSACTION, "COMMIT")
    writer.set_authorizer(
        lambda *asked: sqlite3.SQLITE_DENY if asked[:2] == denied else sqlite3.SQLITE_OK
    )
    crowd.write([creating("a"), creating("b")])
    writer.set_authorizer(None)
    assert [type(outcome) for outcome in crowd.outcomes.values()] == [StoreUnavailableError] * 3
    assert not any(crowd.store.get(f"parts/{name}") for name in ("first", "a", "b"))
    crowd.store.transact(creating("a"))
    found = crowd.store.get("parts/there")
    assert found is not None
    assert found.data == {"n": 1}


def test_a_work_is_its_own_callers(crowd: Crowd) -> None:
    """Whichever thread does it: what was bound for its request is bound in it."""
    crowd.write([lambda _transaction: BOUND.get()] * 5)
    assert [crowd.outcomes[number] for number in range(5)] == list(range(5))


def test_nobody_waits_for_ever_for_another_process(crowd: Crowd) -> None:
    """Of those who come together each has its own time; who has some left goes on."""
    ours = sqlite_file.connect(crowd.path, seconds=1)
    other = sqlite3.connect(crowd.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    now = time.monotonic()
    hurried, patient = Job(lambda _: None, now + 0.2), Job(lambda _: None, now + 60)
    left: list[object] = []
    thread = threading.Thread(
        target=lambda: left.extend(sqlite_pool._begun(ours, [patient, hurried]))
    )
    thread.start()
    while hurried.error is None and time.monotonic() < now + 20:
        time.sleep(0.01)
    other.execute("ROLLBACK")
    thread.join(20)
    assert left == [patient]
    assert patient.error is None
    assert isinstance(hurried.error, sqlite3.OperationalError)
    ours.close()
    other.close()
