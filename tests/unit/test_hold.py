"""An item in a worker's hands: its lease is renewed, and its holder told where it is lost."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_run.errors import ClaudeRunError, Code
from gateway.opening import COLLECTIONS
from gateway.store import Store, StoreUnavailableError, open_store
from gateway.work import hold as holds
from gateway.work.claims import Claims
from gateway.work.hold import Hold
from gateway.work.queue import Queue
from gateway.work.record import LEASE, WorkItem
from work_items import ASKED, Clock, items

SECONDS = 20.0


class Driven:
    """What drives a turn; it only notes why it was stopped."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.reason: ClaudeRunError | None = None

    def stop(self, error: ClaudeRunError) -> None:
        """Once is enough."""
        self.reason = error
        self.stopped.set()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """With one item."""
    opened = open_store(f"sqlite://{tmp_path}/g.db", collections=COLLECTIONS, clock=clock)
    Queue(store=opened, clock=clock).accept(ASKED, delivery="d")
    yield opened
    opened.close()


@pytest.fixture
def claims(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Claims:
    """Whose holders renew every moment."""
    monkeypatch.setattr(holds, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(holds, "RETRY_SECONDS", 0.01)
    return Claims(store=store, clock=clock)


def claimed(claims: Claims) -> WorkItem:
    item = claims.next()
    assert item is not None
    return item


def renewals(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Waits for so many more."""
    renew, renewed = claims.renew, threading.Semaphore(0)

    def counted(item: WorkItem) -> WorkItem:
        try:
            return renew(item)
        finally:
            renewed.release()

    monkeypatch.setattr(claims, "renew", counted)

    def wait(number: int) -> None:
        assert all(renewed.acquire(timeout=SECONDS) for _ in range(number))

    return wait


def test_its_lease_does_not_run_out(
    claims: Claims, clock: Clock, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it is worked on; and nobody renews it any more once it is left."""
    wait = renewals(claims, monkeypatch)
    with Hold(claims, claimed(claims)) as hold:
        clock.pass_by(LEASE * 3)
        wait(2)
        assert items(store)["issue"].lease_until == clock.now + LEASE
        assert claims.next() is None
        assert not hold.interrupted
    until = items(store)["issue"].lease_until
    clock.pass_by(LEASE)
    assert items(store)["issue"].lease_until == until
    assert claims.next() is not None


def test_who_has_lost_it_stops_what_is_driven(
    claims: Claims, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent's run ends: somebody else has begun where it was."""
    driven = Driven()
    with monkeypatch.context() as paused:
        paused.setattr(holds, "RENEW_SECONDS", SECONDS)
        item = claimed(claims)
    clock.pass_by(LEASE)
    claimed(claims)
    with Hold(claims, item) as hold:
        hold.driving(driven)
        assert driven.stopped.wait(SECONDS)
        assert driven.reason is not None
        assert driven.reason.code is Code.INTERRUPTED
        with pytest.raises(ClaudeRunError):
            hold.check()


def test_a_store_that_does_not_answer_for_a_moment_ends_nothing(
    claims: Claims, clock: Clock, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may still be ours: it is renewed as soon as that can be written."""
    renew, failed = claims.renew, list[WorkItem]()

    def unavailable(item: WorkItem) -> WorkItem:
        if len(failed) < 3:
            failed.append(item)
            raise StoreUnavailableError("nobody is there")
        return renew(item)

    monkeypatch.setattr(claims, "renew", unavailable)
    wait = renewals(claims, monkeypatch)
    with Hold(claims, claimed(claims)) as hold:
        clock.pass_by(LEASE / 2)
        wait(5)
        assert not hold.interrupted
        assert items(store)["issue"].lease_until == clock.now + LEASE
