"""Sessions in the store: begun once, held by one, ended once, on real SQLite."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from claude_run.errors import CallerError, Code, StoppedError
from gateway.limit_settings import LimitSettings
from gateway.paging import page_token, place_of
from gateway.quota import Quota, Wanted
from gateway.sessions import blobs, log
from gateway.sessions.keeper import Keeping
from gateway.sessions.log import Frame, frames_of
from gateway.sessions.record import (
    ID_GAP,
    LEASE,
    Continuation,
    Session,
    StaleLeaseError,
    Status,
    Usage,
    key_of,
)
from gateway.sessions.registry import Claim, Registry
from gateway.store import Cursor, Store
from work_items import Clock


@pytest.fixture
def registry(store: Store, clock: Clock) -> Registry:
    """The registry under test."""
    return Registry(store=store, quota=Quota(LimitSettings()), clock=clock)


def fresh(clock: Clock, name: str = "s", owner: str = "me") -> Session:
    """A session about to begin."""
    return Session(
        key=key_of(owner, name),
        owner=owner,
        session_id=name,
        status=Status.PROCESSING,
        turn=1,
        fence=1,
        lease_until=clock.now + LEASE,
        created_at=clock.now,
        last_activity_at=clock.now,
    )


def begin(registry: Registry, clock: Clock, name: str = "s", owner: str = "me") -> Claim:
    """Begin a session."""
    return registry.start(fresh(clock, name, owner), Wanted())


def frame(number: int) -> Frame:
    """A frame as the writer makes them."""
    return Frame(id=number, data=b"event: status\nid: %d\ndata: {}\n\n" % number)


def end(registry: Registry, claim: Claim, number: int, error: StoppedError | None = None) -> None:
    """End a turn with one event."""
    registry.end(claim, [frame(number)], error, Usage(input_tokens=10), Continuation())


def test_the_same_owner_begins_a_session_once(registry: Registry, clock: Clock) -> None:
    """Of twenty at once one begins; the others are told, and hold no slot of the quota."""

    def one(_: int) -> bool:
        try:
            begin(registry, clock)
        except CallerError as error:
            codes.append(error.code)
            return False
        return True

    codes: list[Code] = []
    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(one, range(20))) == 1
    assert codes == [Code.CONFLICT] * 19
    for name in "abcd":
        begin(registry, clock, name)
    with pytest.raises(CallerError) as refused:
        begin(registry, clock, "e")
    assert refused.value.code is Code.QUOTA_EXCEEDED
    with pytest.raises(CallerError) as absent:
        registry.find(key_of("me", "e"))
    assert absent.value.code is Code.NOT_FOUND


def test_two_owners_may_use_one_id(registry: Registry, clock: Clock) -> None:
    """They never meet."""
    begin(registry, clock, owner="me")
    begin(registry, clock, owner="you")
    assert registry.find(key_of("me", "s")).owner == "me"
    assert [s.owner for s in registry.list("you", limit=10)] == ["you"]


def test_an_orphan_is_finalised_once_by_many(
    registry: Registry, store: Store, clock: Clock
) -> None:
    """INTERRUPTED, a gap in the numbers, its logged usage settled, and open for a message."""
    claim = begin(registry, clock)
    registry.append(claim, [frame(1)], Usage(input_tokens=3))
    registry.renew(claim, Usage(input_tokens=7, cost_usd=0.5), Continuation(runner_session="r"))
    # What came after the last renewal is in the log alone.
    registry.append(claim, [frame(2)], Usage(input_tokens=9, cost_usd=0.75))
    clock.pass_by(LEASE)
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda _: registry.find(claim.session.key), range(10)))
    assert {session.status for session in found} == {Status.ERROR}
    assert found[0].usage == Usage(input_tokens=9, cost_usd=0.75)
    assert found[0].runner_session == "r"
    stored = b"".join(part.data for part in log.read(store, claim.session.key, after=0))
    numbers = [log.frame_id(data) for data in frames_of(stored)]
    assert numbers == [1, 2, 2 + ID_GAP]
    assert stored.count(b"INTERRUPTED") == 1
    again = registry.next_turn(claim.session.key, {}, Wanted())
    assert again.session.turn == 2
    assert again.last_event_id == 2 + ID_GAP


def test_a_turn_that_logged_nothing_has_used_nothing(registry: Registry, clock: Clock) -> None:
    """Its driver died at once; what is in the log is of the turn before."""
    first = begin(registry, clock)
    registry.append(first, [frame(1)], Usage(input_tokens=9))
    clock.pass_by(LEASE)
    registry.find(first.session.key)
    second = registry.next_turn(first.session.key, {}, Wanted())
    clock.pass_by(LEASE)
    assert registry.find(second.session.key).usage == Usage(input_tokens=9)


def test_an_earlier_holder_writes_nothing(registry: Registry, store: Store, clock: Clock) -> None:
    """After a takeover every write of the old holder is refused, whatever it is."""
    old = begin(registry, clock)
    clock.pass_by(LEASE)
    registry.find(old.session.key)
    new = registry.next_turn(old.session.key, {}, Wanted())
    transcript = f"{old.session.path}/transcript"
    stolen = Keeping(
        writes=tuple(blobs.pieces(transcript, "000001-1", ["old"], expire_at=old.expire_at)),
        named=Continuation(runner_session="stolen"),
    )
    for attempt in (
        lambda: registry.append(old, [frame(50)], Usage()),
        lambda: registry.append(old, [], Usage(), stolen),
        lambda: registry.renew(old, Usage(), Continuation(runner_session="stolen")),
        lambda: end(registry, old, 60),
    ):
        with pytest.raises(StaleLeaseError):
            attempt()
    registry.append(new, [frame(new.last_event_id + 1)], Usage())
    end(registry, new, new.last_event_id + 2)
    session = registry.find(old.session.key)
    assert session.status is Status.COMPLETED
    assert session.runner_session is None
    assert list(blobs.read(store, transcript)) == []
    stored = b"".join(part.data for part in log.read(store, old.session.key, after=0))
    assert not any(b"id: %d\n" % number in stored for number in (50, 60))


def test_contention_pauses_and_clock_steps_never_let_an_old_holder_write(
    registry: Registry, store: Store, clock: Clock
) -> None:
    """Many holders, each pausing past its lease at some point: numbers rise, turns are whole."""
    claim = begin(registry, clock)
    key = claim.session.key
    lock = threading.Lock()
    accepted: list[tuple[int, int]] = []

    def holder(held: Claim) -> None:
        for step in range(1, 6):
            try:
                registry.append(held, [frame(held.last_event_id + step)], Usage())
            except StaleLeaseError:
                return
            with lock:
                accepted.append((held.fence, held.last_event_id + step))

    threads = []
    for _ in range(12):
        thread = threading.Thread(target=holder, args=(claim,))
        thread.start()
        threads.append(thread)
        clock.pass_by(LEASE)
        registry.find(key)
        clock.pass_by(-timedelta(seconds=5))
        claim = registry.next_turn(key, {}, Wanted())
    for thread in threads:
        thread.join()
    end(registry, claim, claim.last_event_id + 1)
    stored = b"".join(part.data for part in log.read(store, key, after=0))
    numbers = [log.frame_id(data) for data in frames_of(stored)]
    assert numbers == sorted(set(numbers))
    by_number = sorted(accepted, key=lambda pair: pair[1])
    assert [fence for fence, _ in by_number] == sorted(fence for fence, _ in by_number)


def test_a_finished_session_is_not_cancelled(registry: Registry, clock: Clock) -> None:
    """DELETE of a session that is over changes nothing."""
    claim = begin(registry, clock)
    assert registry.cancel(claim.session.key).cancel_requested
    assert registry.append(claim, [], Usage()) is True
    end(registry, claim, 1, StoppedError("Cancelled.", code=Code.CANCELLED))
    over = registry.find(claim.session.key)
    assert over.status is Status.CANCELLED
    assert registry.cancel(claim.session.key) == over


def test_a_running_session_takes_no_message(registry: Registry, clock: Clock) -> None:
    """409 while it is processing."""
    claim = begin(registry, clock)
    with pytest.raises(CallerError) as refused:
        registry.next_turn(claim.session.key, {}, Wanted())
    assert refused.value.code is Code.CONFLICT


def test_a_message_that_was_overtaken_begins_nothing(registry: Registry, clock: Clock) -> None:
    """409: what it would go on from is what was before the other one."""
    first = begin(registry, clock)
    key = first.session.key
    end(registry, first, 1)
    other = registry.next_turn(key, {}, Wanted(), seen=1)
    end(registry, other, 2)
    with pytest.raises(CallerError) as refused:
        registry.next_turn(key, {}, Wanted(), seen=1)
    assert refused.value.code is Code.CONFLICT
    assert registry.find(key).turn == 2
    assert registry.next_turn(key, {}, Wanted(), seen=2).session.turn == 3


def test_sessions_end_after_thirty_days(registry: Registry, clock: Clock) -> None:
    """Expired counts as absent, whether deleted yet or not."""
    claim = begin(registry, clock)
    end(registry, claim, 1)
    clock.pass_by(timedelta(days=29, hours=23))
    assert registry.find(claim.session.key)
    clock.pass_by(timedelta(hours=2))
    with pytest.raises(CallerError):
        registry.find(claim.session.key)


def test_the_sweep_finds_orphans(registry: Registry, clock: Clock) -> None:
    """Whether anybody asks for them or not."""
    for name in "abc":
        begin(registry, clock, name)
    assert registry.finalise_orphans() == 0
    clock.pass_by(LEASE)
    assert registry.finalise_orphans() == 3
    assert registry.finalise_orphans() == 0


def test_a_list_has_the_newest_first_and_pages(registry: Registry, clock: Clock) -> None:
    """A page goes on behind the last one's end, also within one microsecond."""
    for name in "abcdefg":
        end(registry, begin(registry, clock, name), 1)
        if name not in "bcd":
            clock.pass_by(timedelta(seconds=1))
    found = list(registry.list("me", limit=2))
    while page := registry.list("me", limit=2, after=place(found[-1])):
        found += page
    assert [session.session_id for session in found] == list("gfedcba")


def place(session: Session) -> Cursor:
    """Where a session stands in its owner's list, by way of the token that a client gets."""
    return place_of(page_token(session.created_at, session.key))


def test_a_record_comes_back_as_it_was(registry: Registry, clock: Clock) -> None:
    """Every field."""
    session = replace(
        fresh(clock), repository={"name": "a/b"}, options={"maxTurns": 3}, runner_session="r"
    )
    registry.start(session, Wanted())
    assert registry.find(session.key) == session
