"""Deliveries come in: stored with their work in one commit, once for each meaning."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.github.asked import Asked, Trigger
from gateway.github.trigger_settings import Kind, Sign
from gateway.metrics import read_counts
from gateway.store import Delete, Put, Query, Store, Update
from gateway.work.claims import Claims
from gateway.work.conversation import MAX_WAITING, Conversation
from gateway.work.queue import Accepted, Queue
from gateway.work.record import State
from work_items import ASKED, COMMENT, Clock, all_items, conversation, items


@pytest.fixture
def queue(store: Store, clock: Clock) -> Queue:
    """The queue under test."""
    return Queue(store=store, clock=clock)


def test_a_delivery_its_work_and_its_count_are_one_commit(queue: Queue, store: Store) -> None:
    """What asked, what is to be done, and that it was counted: all there when it returns."""
    assert queue.accept(ASKED, delivery="d-1") is Accepted.NEW
    delivery = store.get("deliveries/d-1")
    assert delivery is not None
    assert delivery.data["work"] == ASKED.key
    item = items(store)["issue"]
    assert (item.state, item.ready, item.delivery) == (State.ACCEPTED, True, "d-1")
    assert Asked.from_data(item.asked or {}) == ASKED
    assert conversation(store).current == ASKED.key
    assert read_counts(store).webhooks == 1


def test_a_hundred_times_the_same_at_once_is_one_item(queue: Queue, store: Store) -> None:
    """One is new; the others know it, and change nothing."""
    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda _: queue.accept(ASKED, delivery="d-1"), range(100)))
    assert (got.count(Accepted.NEW), got.count(Accepted.UNFINISHED)) == (1, 99)
    assert len(items(store)) == 1
    assert read_counts(store).webhooks == 1


@pytest.mark.parametrize("days", [0, 4, 29])
def test_another_id_with_the_same_meaning_points_to_the_same_work(
    queue: Queue, store: Store, clock: Clock, days: int
) -> None:
    """Days later too; and its trigger may be another one on the same text."""
    queue.accept(ASKED, delivery="d-1")
    done = replace(items(store)["issue"], state=State.DONE)
    store.write([Put(done.path, done.to_data())])
    clock.now += timedelta(days=days)
    labeled = replace(ASKED, trigger=Trigger.LABELED)
    assert queue.accept(labeled, delivery="d-2") is Accepted.DUPLICATE
    found = store.get("deliveries/d-2")
    assert found is not None
    assert found.data["work"] == ASKED.key
    assert len(items(store)) == 1


def test_an_id_that_outlived_its_work_is_still_known(
    queue: Queue, store: Store, clock: Clock
) -> None:
    """The second id came late, so it is remembered when the work is forgotten."""
    queue.accept(ASKED, delivery="d-1")
    clock.now += timedelta(days=30)
    queue.accept(ASKED, delivery="d-2")
    clock.now += timedelta(days=6)
    assert queue.accept(ASKED, delivery="d-2") is Accepted.DUPLICATE
    assert items(store) == {}


def test_a_known_id_with_another_body_is_taken_for_what_it_says(queue: Queue, store: Store) -> None:
    """Ids are not signed: one that somebody made up must not hide work, nor change a record."""
    queue.accept(ASKED, delivery="d-1")
    assert queue.accept(COMMENT, delivery="d-1") is Accepted.NEW
    found = store.get("deliveries/d-1")
    assert found is not None
    assert found.data["work"] == ASKED.key


def test_what_comes_second_waits_and_a_stop_does_not(queue: Queue, store: Store) -> None:
    """One item of a conversation at a time may be claimed; asking to stop is not one of them."""
    queue.accept(ASKED, delivery="d-1")
    queue.accept(COMMENT, delivery="d-2")
    queue.accept(replace(COMMENT, source="comment:2", stop=True), delivery="d-3")
    found = items(store)
    assert [found[name].ready for name in ("issue", "comment:1", "comment:2")] == [
        True,
        False,
        True,
    ]
    assert conversation(store).waiting == (COMMENT.key,)


def test_no_more_than_so_many_wait(queue: Queue, store: Store) -> None:
    """A flood on an issue ends in a final state at once; what waits stays."""
    for number in range(MAX_WAITING + 2):
        asked = replace(COMMENT, source=f"comment:{number}")
        queue.accept(asked, delivery=f"d-{number}")
    assert len(conversation(store).waiting) == MAX_WAITING
    last = items(store)[f"comment:{MAX_WAITING + 1}"]
    assert (last.state, last.outcome["code"]) == (State.FAILED, "RATE_LIMIT_EXCEEDED")


def test_an_edit_counts_where_nothing_was_served(queue: Queue, store: Store, clock: Clock) -> None:
    """What is served has its answer; the edit is counted, and leaves nothing else."""
    edit = replace(ASKED, trigger=Trigger.EDITED, text="changed", unless_served=True)
    assert queue.accept(edit, delivery="d-1") is Accepted.NEW
    served = replace(conversation(store), served=True)
    store.write([Put(served.path, served.to_data(clock.now))])
    again = replace(edit, text="changed again")
    assert queue.accept(again, delivery="d-2") is Accepted.NOT_NEEDED
    assert store.get("deliveries/d-2") is None
    assert read_counts(store).webhooks == 2


def test_an_alias_leads_to_its_conversation(queue: Queue, store: Store, clock: Clock) -> None:
    """What is asked on the pull request that was published for an issue is the issue's."""
    alias = Conversation(key="7-6", alias="7-5")
    store.write([Put(alias.path, alias.to_data(clock.now))])
    queue.accept(replace(COMMENT, issue=6, is_pull=True), delivery="d-1")
    assert items(store)["comment:1"].conversation == "7-5"
    assert conversation(store).current is not None


def test_what_answered_nobody_can_be_asked_by_somebody_else(queue: Queue, store: Store) -> None:
    """An outsider's issue was denied, silently; then a maintainer puts the label on it."""
    label = (Sign(Kind.LABEL, "claude"),)
    labeled = replace(ASKED, trigger=Trigger.LABELED, author="max", author_id=12, signs=label)
    assert queue.accept(ASKED, delivery="d-1") is Accepted.NEW
    _end(store, ASKED.key, State.DENIED)
    assert queue.accept(ASKED, delivery="d-1") is Accepted.DUPLICATE
    assert queue.accept(ASKED, delivery="d-3") is Accepted.DUPLICATE
    assert queue.accept(labeled, delivery="d-4") is Accepted.NEW
    assert queue.accept(labeled, delivery="d-4") is Accepted.UNFINISHED
    again = next(item for item in all_items(store) if item.replays == ASKED.key)
    assert (again.state, Asked.from_data(again.asked or {})) == (State.ACCEPTED, labeled)
    assert again.key in (conversation(store).current, *conversation(store).waiting)
    _end(store, again.key, State.DONE)
    # It has been answered now, whoever asks.
    for asked in (labeled, replace(labeled, author_id=13), ASKED):
        assert queue.accept(asked, delivery="d-5") is Accepted.DUPLICATE
    assert len(all_items(store)) == 2


def test_who_asks_the_same_is_heard_before_anybody_has_looked(queue: Queue, store: Store) -> None:
    """A maintainer's label comes before a worker has seen the outsider's issue: both wait."""
    label = (Sign(Kind.LABEL, "claude"),)
    labeled = replace(ASKED, trigger=Trigger.LABELED, author="max", author_id=12, signs=label)
    assert queue.accept(ASKED, delivery="d-1") is Accepted.NEW
    assert queue.accept(labeled, delivery="d-2") is Accepted.NEW
    assert queue.accept(labeled, delivery="d-3") is Accepted.UNFINISHED
    assert len(all_items(store)) == 2
    assert len(conversation(store).waiting) == 1


def test_what_answered_nobody_can_be_asked_for_another_reason(queue: Queue, store: Store) -> None:
    """A repository that does not want all issues served may want this one."""
    opened = replace(ASKED, signs=(Sign(Kind.ON_OPEN),))
    queue.accept(opened, delivery="d-1")
    _end(store, ASKED.key, State.DENIED)
    edited = replace(opened, signs=(Sign(Kind.ON_OPEN, fresh=False),), unless_served=True)
    assert queue.accept(edited, delivery="d-2") is Accepted.NEW
    talk = conversation(store)
    store.write([Update(talk.path, {"served": True})])
    for item in all_items(store):
        _end(store, item.key, State.DENIED)
    assert queue.accept(edited, delivery="d-3") is Accepted.DUPLICATE
    stale = replace(edited, author_id=12)
    assert queue.accept(stale, delivery="d-4") is Accepted.NOT_NEEDED
    assert queue.accept(replace(opened, author_id=12), delivery="d-5") is Accepted.NEW
    assert len(all_items(store)) == 3


LABEL = Sign(Kind.LABEL, "claude")
OPENED = replace(ASKED, signs=(Sign(Kind.ON_OPEN),))
LABELED = replace(ASKED, trigger=Trigger.LABELED, signs=(LABEL,))


def test_another_reason_of_the_same_person_before_anybody_has_looked(
    queue: Queue, store: Store
) -> None:
    """Whichever of the two the repository listens to: one item holds both."""
    edited = replace(OPENED, signs=(Sign(Kind.ON_OPEN, fresh=False),), unless_served=True)
    for first in (OPENED, edited):
        store.write([Delete(path) for path in _documents(store)])
        assert queue.accept(first, delivery="d-1") is Accepted.NEW
        assert queue.accept(LABELED, delivery="d-2") is Accepted.UNFINISHED
        [item] = all_items(store)
        asked = Asked.from_data(item.asked or {})
        assert asked == replace(first, signs=(*first.signs, LABEL), unless_served=False)
        assert store.get("deliveries/d-2") is not None


def test_another_reason_while_a_worker_decides(queue: Queue, store: Store) -> None:
    """It waits for what becomes of the first: where that one is served, so is this one."""
    queue.accept(OPENED, delivery="d-1")
    claims = Claims(store=store, clock=Clock())
    first = claims.next()
    assert first is not None
    assert queue.accept(LABELED, delivery="d-2") is Accepted.NEW
    for again in (LABELED, OPENED):
        assert queue.accept(again, delivery="d-3") is Accepted.UNFINISHED
    [second] = [item for item in all_items(store) if item.key != first.key]
    assert (second.waits, second.unless_served) == (True, True)
    claims.finish(first, State.DENIED)
    taken = claims.next()
    assert taken is not None
    assert (taken.key, Asked.from_data(taken.asked or {}).signs) == (second.key, (LABEL,))


@pytest.mark.parametrize("later", [(LABELED, COMMENT), (COMMENT, LABELED)])
def test_another_reason_is_none_where_the_first_was_served(
    queue: Queue, store: Store, later: tuple[Asked, Asked]
) -> None:
    """GitHub delivers `opened` and `labeled` for one click: that is one run."""
    queue.accept(OPENED, delivery="d-1")
    claims = Claims(store=store, clock=Clock())
    first = claims.next()
    assert first is not None
    for asked in later:
        queue.accept(asked, delivery=f"d-{asked.source}")
    claims.begin(first, session="s", branch=None, comment=1, facts={}, within=lambda _tx: None)
    claims.produced(first, {})
    claims.published(first, {})
    claims.finish(first, State.DONE)
    # The comment is of its own.
    taken = claims.next()
    assert taken is not None
    assert (taken.key, taken.joined) == (COMMENT.key, ())
    assert claims.next() is None


def _documents(store: Store) -> list[str]:
    names = ("work", "deliveries", "conversations")
    return [one.path for name in names for one in store.query(Query(collection=name, limit=100))]


def _end(store: Store, key: str, state: State) -> None:
    store.write([Update(f"work/{key}", {"state": state.value, "held": False, "ready": False})])
