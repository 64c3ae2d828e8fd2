"""What a worker does with items: each step is one transaction, written under the holder's number.

Whoever claims an item, or takes it over from a worker that went away, gets the next number; a
write that names an old one is refused, however late its holder wakes up.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from claude_run.errors import Code, StoppedError
from gateway.store import Put, Query, Store, Transaction
from gateway.work import stored
from gateway.work.conversation import Conversation, sibling
from gateway.work.record import COLLECTION, LEASE, State, WorkItem

T = TypeVar("T")

# Read at once while looking for one to claim.
PAGE = 20
# After so many that somebody else was faster with, it is somebody else's turn to work.
MAX_LOOKS = 10 * PAGE
# Answered by one run; more than people ask for while another one lasts.
MAX_JOINED = 20
_NOW = timedelta(microseconds=1)


class Claims:
    """Used by any number of workers."""

    def __init__(self, *, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    # --- taking ------------------------------------------------------------------------------

    def next(self) -> WorkItem | None:
        """An item to work on, held from now on; None: there is nothing to do now.

        First what somebody began and left. One that was `accepted` is `claimed` now, and all that
        waits for it in its conversation is joined to it.
        """
        expired = self._first({"held": True}, "leaseUntil")
        return expired or self._first({"ready": True}, "notBefore")

    def next_stop(self) -> WorkItem | None:
        """As `next`, of what asks to end something."""
        return self._first({"ready": True, "stop": True}, "notBefore")

    def due(self, *, at_most: int) -> int:
        """How many items a worker could take now; it need not look at more than so many."""
        found = self._store.query(self._query({"held": True}, "leaseUntil", limit=at_most))
        found += self._store.query(self._query({"ready": True}, "notBefore", limit=at_most))
        return min(at_most, len(found))

    def _query(self, equal: Mapping[str, Any], order: str, *, limit: int = PAGE) -> Query:
        return Query(
            collection=COLLECTION.name,
            equal=equal,
            order=order,
            below=self._clock() + _NOW,
            limit=limit,
        )

    def _first(self, equal: Mapping[str, Any], order: str) -> WorkItem | None:
        query = self._query(equal, order)
        looks = 0
        while found := self._store.query(query):
            for document in found:
                if (item := self._take(document.id)) is not None:
                    return item
            looks += len(found)
            if len(found) < PAGE or looks >= MAX_LOOKS:
                return None
            query = query.following(found[-1])
        return None

    def _take(self, key: str) -> WorkItem | None:
        following: str | None = key
        while following is not None:
            taken, following = self._store.transact(partial(self._take_or_leave, key=following))
            if taken is not None:
                return taken
        return None

    def _take_or_leave(self, tx: Transaction, key: str) -> tuple[WorkItem | None, str | None]:
        """The item, taken; or, where it is needed no more, the key of the one that follows it."""
        item = stored.item(tx, key)
        now = self._clock()
        if item is None or not _is_free(item, now):
            return None, None
        begun = item.state not in (State.ACCEPTED, State.CLAIMED)
        if begun or item.stop or item.conversation is None:
            taken = _taken(item, now)
            tx.write(Put(taken.path, taken.to_data()))
            return taken, None
        talk = stored.talk(tx, item.conversation)
        if item.unless_served and talk.served:
            # What was answered while it waited has answered it.
            return None, self._leave(tx, item.moved(State.JOINED, now=now), talk, now)
        return self._take_with_joined(tx, item, talk, now), None

    def _take_with_joined(
        self, tx: Transaction, item: WorkItem, talk: Conversation, now: datetime
    ) -> WorkItem:
        waiting = _found(tx, talk.waiting[: MAX_JOINED - len(item.joined)])
        # What was answered while it waited is joined too, and not asked again.
        asking = [one.key for one in waiting if not (one.unless_served and talk.served)]
        taken = replace(_taken(item, now), joined=(*item.joined, *asking))
        tx.write(Put(taken.path, taken.to_data()))
        for one in waiting:
            other = one.moved(State.JOINED, now=now, joined_to=item.key, waits=False)
            tx.write(Put(other.path, other.to_data()))
        talk = replace(talk.without([one.key for one in waiting]), current=item.key)
        tx.write(Put(talk.path, talk.to_data(now)))
        return taken

    # --- holding -----------------------------------------------------------------------------

    def renew(self, item: WorkItem) -> WorkItem:
        """With its lease renewed, as it is now."""
        return self._change(item, lambda held, now: replace(held, lease_until=now + LEASE))

    def begin(
        self,
        item: WorkItem,
        *,
        session: str,
        branch: str | None,
        comment: int | None,
        facts: Mapping[str, Any],
        within: Callable[[Transaction], T],
    ) -> tuple[WorkItem, T]:
        """To `running`, together with what `within` writes: the start of the session.

        `facts` is what later steps need to know, whoever takes them.
        `StoppedError` CANCELLED where somebody has asked to stop meanwhile.
        """

        def work(tx: Transaction) -> tuple[WorkItem, T]:
            held = stored.held(tx, item)
            if held.stop_requested:
                raise StoppedError("It was stopped before it began.", code=Code.CANCELLED)
            talk = stored.talk(tx, held.conversation) if held.conversation else None
            result = within(tx)
            now = self._clock()
            running = held.moved(
                State.RUNNING,
                now=now,
                session=session,
                branch=branch,
                comment=comment,
                facts=facts,
            )
            tx.write(Put(running.path, running.to_data()))
            if talk is not None:
                talk = replace(talk, served=True, session=session, branch=branch, comment=comment)
                tx.write(Put(talk.path, talk.to_data(now)))
            return running, result

        return self._store.transact(work)

    def produced(self, item: WorkItem, outcome: Mapping[str, Any]) -> WorkItem:
        """To `produced`: the agent has done what it will ever do."""
        return self._change(
            item, lambda held, now: held.moved(State.PRODUCED, now=now, outcome=outcome)
        )

    def published(self, item: WorkItem, publication: Mapping[str, Any]) -> WorkItem:
        """To `published`; what is asked on the pull request is of its conversation from now on.

        Of the publication this reads `number`, `branch`, `base` and `shown`.
        """

        def work(tx: Transaction) -> WorkItem:
            held = stored.held(tx, item)
            now = self._clock()
            published = held.moved(State.PUBLISHED, now=now, publication=publication)
            if publication.get("number") is not None and held.conversation is not None:
                self._take_in(tx, publication, held.conversation, now)
            tx.write(Put(published.path, published.to_data()))
            return published

        return self._store.transact(work)

    def _take_in(
        self, tx: Transaction, publication: Mapping[str, Any], key: str, now: datetime
    ) -> None:
        """What was asked there so early that nobody knew it is ours, waits here now."""
        pull = publication["number"]
        talk, alias = stored.talk(tx, key), sibling(key, pull)
        talk = replace(
            talk,
            pull=pull,
            branch=publication["branch"],
            base=publication["base"],
            shown=publication.get("shown"),
        )
        if alias == key:
            tx.write(Put(talk.path, talk.to_data(now)))
            return
        other = stored.talk(tx, alias)
        asked = [*([other.current] if other.current else []), *other.waiting][:MAX_JOINED]
        moved = [one for one in _found(tx, asked) if one.state is State.ACCEPTED]
        names = [one.key for one in moved]
        current = None if other.current in names else other.current
        other = replace(other.without(names), current=current, alias=key)
        tx.write(Put(other.path, other.to_data(now)))
        talk = replace(talk, waiting=(*talk.waiting, *names))
        tx.write(Put(talk.path, talk.to_data(now)))
        for one in moved:
            here = replace(one, conversation=key, waits=True)
            tx.write(Put(here.path, here.to_data()))

    # --- letting go --------------------------------------------------------------------------

    def finish(
        self, item: WorkItem, state: State, *, outcome: Mapping[str, Any] | None = None
    ) -> None:
        """To a final state; what waited longest in its conversation is the next there."""

        def work(tx: Transaction) -> None:
            held = stored.held(tx, item)
            now = self._clock()
            changes = {} if outcome is None else {"outcome": outcome}
            over = held.moved(state, now=now, lease_until=now, **changes)
            if over.conversation is None or over.stop:
                tx.write(Put(over.path, over.to_data()))
                return
            talk = stored.talk(tx, over.conversation)
            # Who was never answered may still be, by an edit.
            talk = replace(talk, served=talk.served or state is not State.DENIED)
            self._leave(tx, over, talk, now)

        self._store.transact(work)

    def set_aside(
        self, item: WorkItem, *, until: datetime, counts: bool, told_waiting: bool = False
    ) -> None:
        """Given back, to be tried again after a time. `counts`: it was a failed attempt."""

        def change(held: WorkItem, now: datetime) -> WorkItem:
            aside = replace(
                held,
                updated_at=now,
                attempts=held.attempts if counts else held.attempts - 1,
                told_waiting=held.told_waiting or told_waiting,
            )
            if held.state is State.CLAIMED:
                return aside.moved(State.ACCEPTED, now=now, not_before=until, lease_until=now)
            # It is begun: whoever takes it over goes on there. Ours is no more valid at once.
            return replace(aside, fence=held.fence + 1, lease_until=until)

        self._change(item, change)

    def _leave(
        self, tx: Transaction, over: WorkItem, talk: Conversation, now: datetime
    ) -> str | None:
        """Returns the key of the item that is the next in the conversation."""
        following = next((one for key in talk.waiting for one in _found(tx, [key])), None)
        talk = talk.left_by(over.key, following.key if following else None)
        tx.write(Put(over.path, over.to_data()), Put(talk.path, talk.to_data(now)))
        if following is not None:
            first = replace(following, waits=False, not_before=now, updated_at=now)
            tx.write(Put(first.path, first.to_data()))
        return talk.current

    # --- stopping ----------------------------------------------------------------------------

    def stop(self, item: WorkItem) -> WorkItem | None:
        """End what was asked in the conversation of a stop before it; under its holder's number.

        What was put off is ended by whoever takes it next: on the issue something was said of it.
        Returns the item that a worker is at; it has been told, and where it is `running` its
        session is the caller's to cancel.
        """
        while True:
            current, more = self._store.transact(lambda tx: self._stop(tx, item))
            if not more:
                return current

    def _stop(self, tx: Transaction, item: WorkItem) -> tuple[WorkItem | None, bool]:
        """Some of it. Returns the current item where it is held, and whether there is more."""
        held = stored.held(tx, item)
        if held.conversation is None:
            return None, False
        talk = stored.resolved(tx, held.conversation)
        now = self._clock()
        earlier = [
            one for one in _found(tx, talk.waiting[:PAGE]) if one.created_at <= held.created_at
        ]
        current = stored.item(tx, talk.current) if talk.current else None
        for one in earlier:
            ended = one.moved(State.CANCELLED, now=now, waits=False)
            tx.write(Put(ended.path, ended.to_data()))
        if earlier:
            talk = talk.without([one.key for one in earlier])
            tx.write(Put(talk.path, talk.to_data(now)))
            return None, True
        if current is None or current.over or current.created_at > held.created_at:
            return None, False
        if current.untouched:
            self._leave(tx, current.moved(State.CANCELLED, now=now), talk, now)
            return None, False
        told = replace(current, stop_requested=True)
        if told.state is State.ACCEPTED:
            told = replace(told, not_before=now)
        tx.write(Put(told.path, told.to_data()))
        return (told if told.held else None), False

    def _change(self, item: WorkItem, change: Callable[[WorkItem, datetime], WorkItem]) -> WorkItem:
        def work(tx: Transaction) -> WorkItem:
            changed = change(stored.held(tx, item), self._clock())
            tx.write(Put(changed.path, changed.to_data()))
            return changed

        return self._store.transact(work)


def _is_free(item: WorkItem, now: datetime) -> bool:
    if item.held:
        return item.lease_until <= now
    return item.ready and item.not_before <= now


def _taken(item: WorkItem, now: datetime) -> WorkItem:
    state = State.CLAIMED if item.state is State.ACCEPTED else item.state
    return replace(
        item,
        state=state,
        fence=item.fence + 1,
        attempts=item.attempts + 1,
        lease_until=now + LEASE,
        updated_at=now,
    )


def _found(tx: Transaction, keys: Sequence[str]) -> list[WorkItem]:
    """Those that are there, and wait."""
    found = (stored.item(tx, key) for key in keys)
    return [one for one in found if one is not None and not one.over]
