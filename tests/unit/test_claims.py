"""Items of the work queue: claimed by one, joined, given back, taken over, stopped."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from claude_run.errors import CallerError, Code, StoppedError
from gateway.github.asked import Asked, Trigger
from gateway.store import Document, Put, Query, Store, Transaction
from gateway.work.claims import MAX_JOINED, MAX_LOOKS, PAGE, Claims
from gateway.work.conversation import Conversation
from gateway.work.queue import Queue
from gateway.work.record import LEASE, StaleWorkError, State, WorkItem
from work_items import ASKED, COMMENT, Clock, conversation, items

LATER = replace(COMMENT, source="comment:2", text="@claude and that")
ELSEWHERE = replace(ASKED, issue=6)
STOP = replace(COMMENT, source="comment:3", text="@claude stop", stop=True)
OUTCOME = {"code": None}


@pytest.fixture
def queue(store: Store, clock: Clock) -> Queue:
    """Where work comes in."""
    return Queue(store=store, clock=clock)


@pytest.fixture
def claims(store: Store, clock: Clock) -> Claims:
    """The workers' side, under test."""
    return Claims(store=store, clock=clock)


def accept(queue: Queue, *asked: Asked) -> None:
    """Each as a delivery of its own."""
    for one in asked:
        queue.accept(one, delivery=f"d-{one.key}")


def claimed(claims: Claims) -> WorkItem:
    """The next item, which is there."""
    item = claims.next()
    assert item is not None
    return item


def began(claims: Claims, item: WorkItem) -> WorkItem:
    """With its session begun."""
    running, _ = claims.begin(
        item, session="s", branch="b", comment=4, facts={}, within=lambda _: None
    )
    return running


def published(claims: Claims, item: WorkItem) -> WorkItem:
    """With all but its end."""
    return claims.published(claims.produced(began(claims, item), OUTCOME), {})


def test_it_goes_through_its_states_and_tells_its_conversation(
    queue: Queue, claims: Claims, store: Store
) -> None:
    """Session, branch and comment are the conversation's from the start of the run."""
    accept(queue, ASKED)
    item = published(claims, claimed(claims))
    talk = conversation(store)
    assert (talk.session, talk.branch, talk.comment, talk.served) == ("s", "b", 4, True)
    claims.finish(item, State.DONE)
    assert items(store)["issue"].state is State.DONE
    assert conversation(store).current is None
    assert claims.next() is None


def test_what_waits_is_joined_by_whoever_claims(queue: Queue, claims: Claims, store: Store) -> None:
    """In the order in which it was asked, in the same commit."""
    accept(queue, ASKED, COMMENT, LATER, ELSEWHERE)
    item = claimed(claims)
    assert item.joined == (COMMENT.key, LATER.key)
    found = items(store)
    assert {found[name].state for name in ("comment:1", "comment:2")} == {State.JOINED}
    assert found["comment:1"].joined_to == ASKED.key
    assert conversation(store).waiting == ()
    assert claimed(claims).conversation == "7-6"


def test_a_run_answers_no_more_than_so_many(queue: Queue, claims: Claims, store: Store) -> None:
    """What is too much for one prompt waits for the next, and none of it is lost."""
    asked = [replace(COMMENT, source=f"comment:{number}") for number in range(MAX_JOINED + 3)]
    accept(queue, ASKED, *asked)
    item = claimed(claims)
    assert item.joined == tuple(one.key for one in asked[:MAX_JOINED])
    assert conversation(store).waiting == tuple(one.key for one in asked[MAX_JOINED:])
    claims.finish(published(claims, item), State.DONE)
    following = claimed(claims)
    assert (following.key, *following.joined) == tuple(one.key for one in asked[MAX_JOINED:])


def test_where_others_are_faster_it_looks_on_and_not_for_ever(
    queue: Queue, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many that are due, page after page; then somebody else is at work anyway."""
    accept(queue, *(replace(ASKED, issue=number) for number in range(1, MAX_LOOKS + 5 * PAGE)))
    tried = list[str]()
    monkeypatch.setattr(claims, "_take", tried.append)
    assert claims.next() is None
    assert len(tried) == len(set(tried)) == MAX_LOOKS


def test_what_is_put_off_while_another_looks_is_not_taken(
    queue: Queue, claims: Claims, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was due when it was found, and is not when it would be claimed."""
    accept(queue, ASKED)
    query = store.query

    def slow(asked: Query) -> Sequence[Document]:
        found = query(asked)
        monkeypatch.setattr(store, "query", query)
        if found:
            claims.set_aside(claimed(claims), until=clock.now + LEASE, counts=False)
        else:
            monkeypatch.setattr(store, "query", slow)
        return found

    monkeypatch.setattr(store, "query", slow)
    assert claims.next() is None
    assert items(store)["issue"].state is State.ACCEPTED


def test_what_is_over_or_given_back_is_nobodys(
    queue: Queue, claims: Claims, clock: Clock, store: Store
) -> None:
    """Its last holder, who is late, changes nothing of it."""
    accept(queue, ASKED, ELSEWHERE)
    given_back, over = claimed(claims), claimed(claims)
    claims.set_aside(given_back, until=clock.now, counts=False)
    claims.finish(over, State.DENIED)
    before = items(store)
    for late in (given_back, over):
        with pytest.raises(StaleWorkError):
            claims.renew(late)
    assert items(store) == before


@pytest.mark.parametrize("state", State)
def test_the_way_of_an_item_leads_forward(queue: Queue, store: Store, state: State) -> None:
    """Never back to before the agent's run, and never on from an end."""
    accept(queue, ASKED)
    item = replace(items(store)["issue"], state=state)
    way = [State.ACCEPTED, State.CLAIMED, State.RUNNING, State.PRODUCED, State.PUBLISHED]
    passed = [] if state in (State.ACCEPTED, State.CLAIMED) else way
    if state in way:
        # One step at a time; only a claim that came to nothing is given back.
        follows = way[way.index(state) + 1 :][:1] or [State.DONE]
        passed = [one for one in way if one not in follows]
        if state is State.CLAIMED:
            passed.remove(State.ACCEPTED)
    if state is State.RUNNING:
        passed += [State.DONE, State.DENIED, State.INTERRUPTED, State.CANCELLED]
    for other in passed:
        with pytest.raises(StaleWorkError):
            item.moved(other, now=item.created_at)


def test_a_conversation_has_one_holder_and_then_the_next(
    queue: Queue, claims: Claims, store: Store
) -> None:
    """What comes while one runs waits for its end, and is ready in the very commit that ends it."""
    accept(queue, ASKED)
    item = published(claims, claimed(claims))
    accept(queue, COMMENT, LATER)
    assert claims.next() is None
    claims.finish(item, State.DONE)
    assert items(store)["comment:1"].ready
    following = claimed(claims)
    assert (following.key, following.joined) == (COMMENT.key, (LATER.key,))


@pytest.mark.parametrize("state", [State.DENIED, State.DONE])
def test_an_edit_that_waited_is_answered_by_what_was(
    queue: Queue, claims: Claims, store: Store, state: State
) -> None:
    """Unless nobody was: then the edit is the first that counts."""
    accept(queue, ASKED)
    item = claimed(claims)
    edit = replace(ASKED, text="changed", trigger=Trigger.EDITED, unless_served=True)
    accept(queue, edit)
    claims.finish(item, state)
    following = claims.next()
    assert (following is None) is (state is State.DONE)
    assert items(store)["issue"].state in (State.JOINED, State.CLAIMED)
    assert conversation(store).current == (following.key if following else None)


def test_without_quota_it_is_tried_later_and_keeps_what_it_joined(
    queue: Queue, claims: Claims, clock: Clock
) -> None:
    """Being put off is no failed attempt, and what came meanwhile is joined too."""
    accept(queue, ASKED, COMMENT)
    item = claimed(claims)
    claims.set_aside(item, until=clock.now + LEASE, counts=False, told_waiting=True)
    accept(queue, LATER)
    assert claims.next() is None
    clock.pass_by(LEASE)
    again = claimed(claims)
    assert (again.attempts, again.told_waiting) == (1, True)
    assert again.joined == (COMMENT.key, LATER.key)
    with pytest.raises(StaleWorkError):
        claims.renew(item)


@pytest.mark.parametrize("state", [State.CLAIMED, State.RUNNING, State.PRODUCED, State.PUBLISHED])
def test_an_expired_lease_is_taken_over_where_it_was(
    queue: Queue, claims: Claims, clock: Clock, state: State
) -> None:
    """And no sooner; whoever had it can write nothing any more."""
    accept(queue, ASKED)
    item = claimed(claims)
    if state is not State.CLAIMED:
        item = began(claims, item)
    if state in (State.PRODUCED, State.PUBLISHED):
        item = claims.produced(item, OUTCOME)
    if state is State.PUBLISHED:
        item = claims.published(item, {})
    clock.pass_by(LEASE - timedelta(seconds=1))
    item = claims.renew(item)
    clock.pass_by(LEASE - timedelta(seconds=1))
    assert claims.next() is None
    clock.pass_by(timedelta(seconds=1))
    taken = claimed(claims)
    assert (taken.state, taken.fence, taken.attempts) == (state, item.fence + 1, 2)
    for late in (
        lambda: claims.renew(item),
        lambda: began(claims, item),
        lambda: claims.produced(item, OUTCOME),
        lambda: claims.published(item, {}),
        lambda: claims.finish(item, State.FAILED),
        lambda: claims.set_aside(item, until=clock.now, counts=True),
    ):
        with pytest.raises(StaleWorkError):
            late()
    assert claims.renew(taken).state is state


def test_what_is_begun_and_set_aside_goes_on_with_another(
    queue: Queue, claims: Claims, clock: Clock
) -> None:
    """A worker that ends gives it up at once; nobody has to wait for its lease."""
    accept(queue, ASKED)
    item = began(claims, claimed(claims))
    claims.set_aside(item, until=clock.now, counts=False)
    with pytest.raises(StaleWorkError):
        claims.renew(item)
    assert claimed(claims).state is State.RUNNING


def test_what_fails_with_the_start_has_no_start(queue: Queue, claims: Claims, store: Store) -> None:
    """`running` and what belongs to it are one commit."""
    accept(queue, ASKED)
    item = claimed(claims)

    def refused(tx: Transaction) -> None:
        tx.write(Put("setup/x", {}))
        raise CallerError("no quota", code=Code.QUOTA_EXCEEDED)

    with pytest.raises(CallerError):
        claims.begin(item, session="s", branch=None, comment=None, facts={}, within=refused)
    assert items(store)["issue"].state is State.CLAIMED
    assert store.get("setup/x") is None


def test_the_pull_request_that_was_published_is_the_same_conversation(
    queue: Queue, claims: Claims, store: Store
) -> None:
    """What somebody asked there a moment too early comes along."""
    on_pull = replace(COMMENT, issue=9, is_pull=True)
    accept(queue, ASKED)
    item = claims.produced(began(claims, claimed(claims)), OUTCOME)
    accept(queue, on_pull)
    item = claims.published(item, {"number": 9, "branch": "b", "base": "c"})
    assert conversation(store, "7-9") == Conversation(key="7-9", alias="7-5")
    assert conversation(store).waiting == (on_pull.key,)
    accept(queue, replace(on_pull, source="comment:8"))
    claims.finish(item, State.DONE)
    following = claimed(claims)
    assert (following.key, following.conversation) == (on_pull.key, "7-5")
    assert len(following.joined) == 1


def test_a_stop_ends_what_waits_and_what_was_not_begun(
    queue: Queue, claims: Claims, store: Store, clock: Clock
) -> None:
    """All that was asked before it; what is asked after it goes on."""
    accept(queue, ASKED, *(replace(COMMENT, source=f"comment:{n}") for n in range(100, 145)))
    accept(queue, STOP)
    clock.pass_by(timedelta(seconds=1))
    accept(queue, LATER)
    stop = claims.next_stop()
    assert stop is not None
    assert claims.stop(stop) is None
    claims.finish(stop, State.DONE)
    states = [item.state for item in items(store).values()]
    assert states.count(State.CANCELLED) == 46
    assert claimed(claims).key == LATER.key


@pytest.mark.parametrize("state", [State.ACCEPTED, State.CLAIMED, State.RUNNING])
def test_a_stop_that_is_heard_late_leaves_what_was_asked_after_it(
    queue: Queue, claims: Claims, store: Store, clock: Clock, state: State
) -> None:
    """However far that is by then: GitHub may not have said for hours who may stop."""
    accept(queue, STOP)
    stop = claims.next_stop()
    assert stop is not None
    clock.pass_by(timedelta(seconds=1))
    accept(queue, LATER)
    if state is not State.ACCEPTED:
        item = claimed(claims)
        if state is State.RUNNING:
            began(claims, item)
    assert claims.stop(stop) is None
    left = items(store)["comment:2"]
    assert (left.state, left.stop_requested) == (state, False)


@pytest.mark.parametrize("failed", [True, False])
def test_a_stop_of_what_was_put_off_is_told_by_whoever_has_it_next(
    queue: Queue, claims: Claims, clock: Clock, failed: bool
) -> None:
    """At once: on the issue stands that it works, or that it will."""
    accept(queue, ASKED)
    hour = clock.now + timedelta(hours=1)
    claims.set_aside(claimed(claims), until=hour, counts=failed, told_waiting=not failed)
    accept(queue, STOP)
    stop = claims.next_stop()
    assert stop is not None
    assert claims.stop(stop) is None
    item = claimed(claims)
    assert (item.key, item.stop_requested) == (ASKED.key, True)


def test_a_stop_reaches_what_was_claimed_before_it_begins(queue: Queue, claims: Claims) -> None:
    """It never waits for the holder, and the holder cannot begin after it."""
    accept(queue, ASKED)
    item = claimed(claims)
    accept(queue, STOP)
    stop = claims.next_stop()
    assert stop is not None
    current = claims.stop(stop)
    assert current is not None
    assert current.key == item.key
    with pytest.raises(StoppedError, match="stopped"):
        began(claims, item)
    claims.finish(item, State.CANCELLED)


def test_many_workers_claim_each_item_once(queue: Queue, store: Store, clock: Clock) -> None:
    """However many look at once; none of two in one conversation at the same time."""
    for number in range(12):
        accept(queue, replace(ASKED, issue=number))

    def take_all(_: int) -> list[str]:
        mine = Claims(store=store, clock=clock)
        return [item.key for item in iter(mine.next, None)]

    with ThreadPoolExecutor(6) as pool:
        taken = [key for keys in pool.map(take_all, range(6)) for key in keys]
    assert sorted(taken) == sorted(replace(ASKED, issue=number).key for number in range(12))


def test_a_delivery_is_replayed_as_a_new_item(queue: Queue, claims: Claims, store: Store) -> None:
    """What is not over is only started again; what is over is done anew, and names the old."""
    queue.accept(ASKED, delivery="d-1")
    assert queue.replay("d-1").key == ASKED.key
    claims.finish(claimed(claims), State.DENIED)
    again = queue.replay("d-1")
    assert (again.key, again.replays, again.ready) == (f"{ASKED.key}.1", ASKED.key, True)
    assert queue.replay("d-1").key == again.key
    claims.finish(published(claims, claimed(claims)), State.DONE)
    third = queue.replay("d-1")
    assert (third.key, third.replays) == (f"{ASKED.key}.2", again.key)
    found = store.get("deliveries/d-1")
    assert found is not None
    assert found.data["work"] == ASKED.key
    with pytest.raises(CallerError) as refused:
        queue.replay("d-2")
    assert refused.value.code is Code.NOT_FOUND
