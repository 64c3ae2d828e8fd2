"""What the work queue has to stand on every store: deliveries and workers, many at once."""

import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.opening import COLLECTIONS
from gateway.store import Store, StoreUnavailableError, open_store
from gateway.work.claims import Claims
from gateway.work.queue import Accepted, Queue
from gateway.work.record import State
from store_contract import all_at_once
from work_items import ASKED, COMMENT, all_items, conversation


def _now() -> datetime:
    return datetime.now(UTC)


class WorkContract:
    """Subclasses have a fixture `url`; contention costs a store more or less."""

    deliveries = 30
    workers = 6
    issues = 4

    def opened(self, url: str) -> Store:
        """A store of all collections, awake: the first commit of an emulator takes seconds."""
        store = open_store(url, collections=COLLECTIONS)
        deadline = time.monotonic() + 90
        while True:
            try:
                Queue(store=store, clock=_now).accept(replace(ASKED, issue=1), delivery="awake")
            except StoreUnavailableError:
                assert time.monotonic() < deadline
            else:
                break
        claims = Claims(store=store, clock=_now)
        claims.finish(claims.next() or pytest.fail("it is not there"), State.DENIED)
        return store

    def test_the_same_many_times_at_once_is_one_item(self, url: str) -> None:
        """Under the same id, and under another for each."""
        store = self.opened(url)
        queue = Queue(store=store, clock=_now)
        got = all_at_once(
            self.deliveries,
            lambda n: queue.accept(ASKED, delivery="d" if n % 2 else f"d-{n}"),
        )
        assert Counter(got) == {Accepted.NEW: 1, Accepted.UNFINISHED: self.deliveries - 1}
        assert len(all_items(store)) == 2
        assert (conversation(store).current, conversation(store).waiting) == (ASKED.key, ())
        store.close()

    def test_workers_share_the_work_and_never_a_conversation(self, url: str) -> None:
        """Deliveries come in while they work; each item is had by one, and reaches its end."""
        store = self.opened(url)
        queue = Queue(store=store, clock=_now)
        at_work: Counter[str] = Counter()
        lock = threading.Lock()

        def deliver(number: int) -> None:
            issue = 5 + number % self.issues
            asked = replace(COMMENT, issue=issue, source=f"comment:{number}")
            queue.accept(asked, delivery=f"d-{number}")

        def work(_: int) -> None:
            claims = Claims(store=store, clock=_now)
            while (item := claims.next()) is not None:
                assert item.conversation is not None
                with lock:
                    at_work[item.conversation] += 1
                    assert at_work[item.conversation] == 1
                running, nothing = claims.begin(
                    item,
                    session="s",
                    branch=None,
                    comment=None,
                    facts={},
                    within=lambda _tx: 0,
                )
                assert nothing is None
                done = claims.published(claims.produced(running, {}), {})
                with lock:
                    at_work[item.conversation] -= 1
                claims.finish(done, State.DONE)

        both = self.workers // 2
        all_at_once(self.issues, deliver)
        all_at_once(
            self.workers,
            lambda n: work(n) if n < both else deliver(100 + n),
        )
        work(0)
        found = all_items(store)
        assert len(found) == 1 + self.issues + self.workers - both
        assert {item.state for item in found} <= {State.DONE, State.JOINED, State.DENIED}
        store.close()
