"""The work queue: every step of an item is one transaction, with all that has to be true with it.

`webhook` uses it too, so that nothing here knows of sessions or of GitHub's API.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from enum import Enum

from claude_run.errors import CallerError, Code
from gateway.github.asked import Asked
from gateway.metrics import webhook_write
from gateway.store import Create, Put, Store, Transaction
from gateway.work import delivery as deliveries
from gateway.work import stored
from gateway.work.conversation import Conversation
from gateway.work.delivery import Delivery
from gateway.work.record import Kind, State, WorkItem

FLOODED = "Too much waits for an answer on this issue already."


class Accepted(Enum):
    """What became of a delivery. It is stored now, if it has to be."""

    NEW = "new"
    DUPLICATE = "duplicate"
    # A duplicate too, of work that is not over.
    UNFINISHED = "unfinished"
    NOT_NEEDED = "not_needed"

    @property
    def needs_worker(self) -> bool:
        """Whether a worker has to be started."""
        return self in (Accepted.NEW, Accepted.UNFINISHED)


class Queue:
    """Used by any number of threads, processes and instances."""

    def __init__(self, *, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    # --- coming in ---------------------------------------------------------------------------

    def accept(self, asked: Asked, *, delivery: str) -> Accepted:
        """Store a delivery and its work, or find that it is there.

        The work is known by its meaning: a delivery's id is not signed, and can be made up.
        """

        def work(tx: Transaction) -> Accepted:
            now = self._clock()
            # First what all have in common that come for one issue: threads take turns by it.
            talk = stored.resolved(tx, asked.conversation)
            known = tx.get(deliveries.path_of(delivery))
            found = stored.item(tx, asked.key)
            newest = stored.item(tx, newest_key(found)) if found and found.replay else found
            brought = Delivery.of(delivery, asked, now=now)
            arrival = [] if known else [Create(deliveries.path_of(delivery), brought.to_data())]
            if newest is not None and not _is_asked_anew(newest, asked, first=found):
                if arrival:
                    tx.write(*arrival, webhook_write())
                return Accepted.DUPLICATE if newest.over else Accepted.UNFINISHED
            if newest is not None and _is_open_to(newest, asked):
                heard = _with_signs(newest, asked)
                tx.write(*arrival, Put(heard.path, heard.to_data()), webhook_write())
                return Accepted.UNFINISHED
            if newest is None and known is not None and known.data["work"] == asked.key:
                return Accepted.DUPLICATE  # the work was done so long ago that it is forgotten
            if asked.unless_served and talk.served:
                tx.write(webhook_write())
                return Accepted.NOT_NEEDED
            # A worker is about to serve it, or to deny it: then it is this one's turn.
            undecided = newest is not None and newest.state is State.CLAIMED
            wanted = replace(asked, unless_served=True) if undecided else asked
            fresh = _item_of(wanted, delivery=delivery, now=now)
            if found is not None:
                fresh = _once_more(tx, found, fresh)
            item, talk = _placed(fresh, talk)
            tx.write(
                *arrival,
                Create(item.path, item.to_data()),
                Put(talk.path, talk.to_data(now)),
                webhook_write(),
            )
            return Accepted.NEW

        return self._store.transact(work)

    # --- again -------------------------------------------------------------------------------

    def replay(self, delivery: str) -> WorkItem:
        """The work of a delivery, to be started again: a new item if it is over. NOT_FOUND."""

        def work(tx: Transaction) -> WorkItem:
            known = tx.get(deliveries.path_of(delivery))
            first = stored.item(tx, known.data["work"]) if known else None
            if first is None or first.asked is None or first.conversation is None:
                raise CallerError("There is no such delivery.", code=Code.NOT_FOUND)
            newest = stored.item(tx, newest_key(first)) if first.replay else first
            if newest is not None and not newest.over:
                return newest
            now = self._clock()
            # The newest may have been asked by somebody else, who may.
            last = newest.asked if newest is not None and newest.asked is not None else first.asked
            asked = replace(Asked.from_data(last), unless_served=False)
            talk = stored.resolved(tx, first.conversation)
            fresh = _once_more(tx, first, _item_of(asked, delivery=delivery, now=now))
            item, talk = _placed(fresh, talk)
            if item.over:
                raise CallerError(FLOODED, code=Code.CONFLICT)
            tx.write(Create(item.path, item.to_data()), Put(talk.path, talk.to_data(now)))
            return item

        return self._store.transact(work)


def _is_asked_anew(newest: WorkItem, asked: Asked, *, first: WorkItem | None) -> bool:
    """Whether nothing was answered yet, and somebody else asks the same, or for another reason.

    An outsider opens an issue, and later a maintainer puts the label on it. What is `first` told
    is known too: a delivery that comes again is no new reason.
    """
    if newest.state not in (State.DENIED, State.ACCEPTED, State.CLAIMED):
        return False
    known = {
        (before.author_id, sign)
        for one in (newest, first)
        if one is not None and one.asked is not None
        for before in [Asked.from_data(one.asked)]
        for sign in before.signs
    }
    return not known.issuperset((asked.author_id, sign) for sign in asked.signs)


def _is_open_to(item: WorkItem, asked: Asked) -> bool:
    """Whether nobody has looked at the item yet, and the same person asks for another reason."""
    return (
        item.state is State.ACCEPTED
        and item.asked is not None
        and bool(item.asked["author_id"] == asked.author_id)
    )


def _with_signs(item: WorkItem, asked: Asked) -> WorkItem:
    """An item that is asked for these reasons too."""
    before = Asked.from_data(item.asked or {})
    signs = tuple(dict.fromkeys((*before.signs, *asked.signs)))
    unless_served = before.unless_served and asked.unless_served
    return replace(item, asked=replace(before, signs=signs, unless_served=unless_served).to_data())


def newest_key(first: WorkItem) -> str:
    """The key of the newest item that does the first one's work."""
    return f"{first.key}.{first.replay}" if first.replay else first.key


def _once_more(tx: Transaction, first: WorkItem, fresh: WorkItem) -> WorkItem:
    """A fresh item that does the first one's work again, which counts it."""
    counted = replace(first, replay=first.replay + 1)
    tx.write(Put(counted.path, counted.to_data()))
    return replace(fresh, key=newest_key(counted), replays=newest_key(first))


def _item_of(asked: Asked, *, delivery: str, now: datetime) -> WorkItem:
    return WorkItem(
        key=asked.key,
        kind=Kind.ISSUE,
        state=State.ACCEPTED,
        created_at=now,
        updated_at=now,
        not_before=now,
        lease_until=now,
        stop=asked.stop,
        asked=asked.to_data(),
        delivery=delivery,
    )


def _placed(item: WorkItem, talk: Conversation) -> tuple[WorkItem, Conversation]:
    """The item at its place in its conversation."""
    item = replace(item, conversation=talk.key)
    if item.stop:
        return item, talk  # it waits for nobody
    if talk.full:
        # Said to nobody: whoever writes so much, that no comment of ours helps, may not even be
        # allowed to ask.
        outcome = {"code": Code.RATE_LIMIT_EXCEEDED.value, "message": FLOODED}
        return item.moved(State.FAILED, now=item.created_at, outcome=outcome), talk
    return replace(item, waits=talk.current is not None), talk.joined_by(item.key)
