"""The sweep: what was left lying is taken up again, in bounds."""

import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from claude_run.errors import Code, UpstreamError
from gateway.github.redeliveries import LOOK_BACK, MAX_ATTEMPTS, Attempt, failed
from gateway.limit_settings import LimitSettings
from gateway.quota import Quota, Wanted
from gateway.sessions.record import LEASE, Session, Status, key_of
from gateway.sessions.registry import Registry
from gateway.store import Store
from gateway.work.claims import Claims
from gateway.work.queue import Queue
from gateway.work.sweep import ASK_SECONDS, MAX_STARTED, Sweep, Swept
from work_items import ASKED, Clock

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class Counting:
    """A starter, GitHub and a monotonic clock that only count."""

    started: int = 0
    asked: int = 0
    now: float = 0.0
    refusing: bool = False
    called: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Count it."""
        self.called.set()
        if self.refusing:
            raise UpstreamError("No.", code=Code.UNAVAILABLE)
        self.started += 1

    def close(self) -> None:
        """Nothing runs."""

    def ask(self) -> int:
        """Count it."""
        self.asked += 1
        if self.refusing:
            raise UpstreamError("No.", code=Code.UNAVAILABLE)
        return 3


@pytest.fixture
def counting() -> Counting:
    """Nothing yet."""
    return Counting()


@pytest.fixture
def sweep(store: Store, clock: Clock, counting: Counting) -> Sweep:
    """The sweep under test."""
    return Sweep(
        claims=Claims(store=store, clock=clock),
        registry=Registry(store=store, quota=Quota(LimitSettings()), clock=clock),
        starter=counting,
        ask=counting.ask,
        monotonic=lambda: counting.now,
    )


def accept(store: Store, clock: Clock, *issues: int) -> None:
    """Items that nobody has started."""
    queue = Queue(store=store, clock=clock)
    for issue in issues:
        queue.accept(replace(ASKED, issue=issue), delivery=f"d-{issue}")


def test_nothing_lying_starts_nothing(sweep: Sweep, counting: Counting) -> None:
    """GitHub is asked all the same, and not again so soon."""
    assert sweep.run() == Swept(workers=0, sessions=0, redeliveries=3)
    assert sweep.run() == Swept(workers=0, sessions=0, redeliveries=0)
    counting.now += ASK_SECONDS
    sweep.run()
    assert (counting.started, counting.asked) == (0, 2)


def test_work_that_was_not_started_is(
    sweep: Sweep, store: Store, clock: Clock, counting: Counting
) -> None:
    """One worker for each, up to a bound; none for what waits for another, or for its time."""
    accept(store, clock, 5)
    Queue(store=store, clock=clock).accept(replace(ASKED, source="comment:1"), delivery="d-x")
    sweep.run()
    assert counting.started == 1
    accept(store, clock, *range(10, 30))
    sweep.run()
    assert counting.started == 1 + MAX_STARTED


def test_work_whose_lease_ran_out_is_taken_up(
    sweep: Sweep, store: Store, clock: Clock, counting: Counting
) -> None:
    """And no sooner."""
    accept(store, clock, 5)
    Claims(store=store, clock=clock).next()
    sweep.run()
    assert counting.started == 0
    clock.pass_by(LEASE)
    sweep.run()
    assert counting.started == 1


def test_sessions_whose_driver_went_away_are_ended(
    sweep: Sweep, store: Store, clock: Clock
) -> None:
    """Those that nobody looks at, too; one that waits for a worker is no such."""
    registry = Registry(store=store, quota=Quota(LimitSettings()), clock=clock)
    lost = Session(
        key=key_of("me", "lost"),
        owner="me",
        session_id="lost",
        status=Status.PROCESSING,
        turn=1,
        fence=1,
        lease_until=clock() + LEASE,
        created_at=clock(),
        last_activity_at=clock(),
    )
    registry.start(lost, Wanted())
    waiting = replace(lost, key=key_of("me", "waiting"), session_id="waiting")
    store.transact(lambda tx: registry.queue_in(tx, waiting))
    clock.pass_by(LEASE)
    assert sweep.run().sessions == 1
    assert registry.find(lost.key).status is Status.ERROR
    assert registry.find(waiting.key).status is Status.PROCESSING


def test_whoever_cannot_be_reached_is_tried_the_next_time(
    sweep: Sweep, store: Store, clock: Clock, counting: Counting
) -> None:
    """Neither Google nor GitHub stands in the way of the rest."""
    accept(store, clock, 5)
    counting.refusing = True
    assert sweep.run() == Swept(workers=0, sessions=0, redeliveries=0)
    counting.refusing = False
    assert sweep.run().workers == 1


class Broken(Registry):
    """One of its sessions cannot be read."""

    def finalise_orphans(self) -> int:
        """Breaks."""
        raise KeyError("owner")


def test_a_session_that_cannot_be_ended_keeps_no_work_back(
    sweep: Sweep, store: Store, clock: Clock, counting: Counting
) -> None:
    """It is there at the next sweep, too."""
    accept(store, clock, 5)
    sweep.registry = Broken(store=store, quota=Quota(LimitSettings()), clock=clock)
    with pytest.raises(KeyError):
        sweep.run()
    assert (counting.started, counting.asked) == (1, 1)


def test_on_a_laptop_it_runs_by_itself(
    sweep: Sweep, store: Store, clock: Clock, counting: Counting
) -> None:
    """From the start, and again; a failure does not end it."""
    accept(store, clock, 5)
    counting.refusing = True
    sweep.start_timer(every=0.01)
    assert counting.called.wait(60)
    counting.refusing = False
    counting.called.clear()
    assert counting.called.wait(60)
    sweep.close()


# --- deliveries that did not arrive --------------------------------------------------------------


def attempt(number: int, guid: str, minutes: float, *, ok: bool = False) -> Attempt:
    """One, so many minutes ago."""
    return Attempt(id=number, guid=guid, at=NOW - timedelta(minutes=minutes), succeeded=ok)


def test_what_never_arrived_is_asked_for_by_its_last_try() -> None:
    """Oldest first; what arrived with any of its tries is not."""
    attempts = [
        attempt(5, "b", 2),
        attempt(4, "a", 3),
        attempt(3, "c", 4, ok=True),
        attempt(2, "c", 5),
        attempt(1, "a", 6),
    ]
    assert [one.id for one in failed(attempts, now=NOW)] == [4, 5]


@pytest.mark.parametrize(
    "attempts",
    [
        [attempt(1, "a", 0.5)],
        [attempt(1, "a", LOOK_BACK / timedelta(minutes=1) + 1)],
        [attempt(number, "a", 9) for number in range(MAX_ATTEMPTS)],
    ],
    ids=["under way", "too old", "refused too often"],
)
def test_what_would_not_help_is_not_asked_for(attempts: list[Attempt]) -> None:
    """Neither what may still arrive, nor what GitHub has forgotten, nor what is refused."""
    assert failed(attempts, now=NOW) == []
