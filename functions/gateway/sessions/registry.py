"""Sessions in the store: each legal step as one transaction, with the quota in the same one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from claude_run.errors import CallerError, ClaudeRunError, Code, StoppedError
from gateway.quota import Quota, Reservation, Wanted
from gateway.sessions import log
from gateway.sessions.events import SessionEvent, connected, encode, error, status
from gateway.sessions.keeper import NOTHING, Keeping
from gateway.sessions.log import Frame
from gateway.sessions.record import (
    ID_GAP,
    LEASE,
    RETENTION,
    Continuation,
    Session,
    Status,
    Usage,
    not_found,
    path_of,
)
from gateway.store import Cursor, Document, Put, Query, Store, Transaction

PAGE_LIMIT = 100
# Of one sweep; the next one takes the rest.
ORPHANS_PER_SWEEP = 50
CANCELLED = "The session was cancelled."
INTERRUPTED = "The session's driver went away. Send a message to go on from what is stored."


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a driver holds: the session as it was claimed, its number in it, its run's name."""

    session: Session
    last_event_id: int
    reservation: Reservation

    @property
    def fence(self) -> int:
        """The number that every write of the holder names."""
        return self.session.fence

    @property
    def run_id(self) -> str:
        """The name of this turn's reservation in the quota."""
        return run_id(self.session)

    @property
    def expire_at(self) -> datetime:
        """When all that belongs to the session ends."""
        return self.session.created_at + RETENTION


class Registry:
    """Used by any number of threads and instances."""

    def __init__(self, *, store: Store, quota: Quota, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._quota = quota
        self._clock = clock

    # --- beginning ---------------------------------------------------------------------------

    def refusal(self) -> CallerError | None:
        """Why a turn with our key could not begin now; None: it could, and has still to reserve."""
        return self._quota.refusal(self._store, now=self._clock())

    def start(self, session: Session, wanted: Wanted) -> Claim:
        """Begin a session's first turn. `CallerError` CONFLICT, QUOTA_EXCEEDED; then no trace."""
        return self._store.transact(lambda tx: self.start_in(tx, session, wanted))

    def start_in(self, tx: Transaction, session: Session, wanted: Wanted) -> Claim:
        """As `start`, in a transaction that has not written yet."""
        _check_new(tx, session)
        return self._claim(tx, session, wanted, last_event_id=0)

    def next_turn(
        self, key: str, options: Mapping[str, Any], wanted: Wanted, *, seen: int | None = None
    ) -> Claim:
        """Begin the next turn. `CallerError` CONFLICT while one is processing.

        `seen` is the turn behind which the caller has read what was kept: CONFLICT if there has
        been another one since, whose words and changes it would forget.
        """
        self.find(key)  # an orphan is finalised first, and can then be continued
        return self._store.transact(
            lambda tx: self.next_turn_in(tx, key, options, wanted, seen=seen)
        )

    def next_turn_in(
        self,
        tx: Transaction,
        key: str,
        options: Mapping[str, Any],
        wanted: Wanted,
        *,
        seen: int | None = None,
    ) -> Claim:
        """As `next_turn`, in a transaction that has not written yet, of a session found before."""
        session = _session(tx.get(path_of(key)), key)
        last = max(log.last_id(tx, key), session.last_event_id)
        claimed = session.next_turn(options, self._clock())
        if seen is not None and session.turn != seen:
            raise CallerError(
                "Another message came first. Send this one again.", code=Code.CONFLICT
            )
        return self._claim(tx, claimed, wanted, last_event_id=last)

    # --- leaving a turn to a worker ----------------------------------------------------------

    def queue_in(self, tx: Transaction, session: Session) -> Session:
        """Begin a session whose first turn a worker will drive; as `start_in`, without quota."""
        _check_new(tx, session)
        return self._queued(tx, session, [connected(session.session_id)], after=0)

    def queue_turn_in(self, tx: Transaction, key: str, options: Mapping[str, Any]) -> Session:
        """The same for the next turn; as `next_turn_in`, without quota."""
        session = _session(tx.get(path_of(key)), key)
        last = max(log.last_id(tx, key), session.last_event_id)
        return self._queued(tx, session.next_turn(options, self._clock()), [], after=last)

    def _queued(
        self, tx: Transaction, session: Session, added: list[SessionEvent], *, after: int
    ) -> Session:
        now = self._clock()
        queued = session.in_queue(now)
        added = [*added, status("Waiting for a worker.")]
        frames = [
            Frame(id=number, data=encode(event, id=number, timestamp=now))
            for number, event in enumerate(added, start=after + 1)
        ]
        tx.write(log.batch(queued.key, frames, expire_at=queued.created_at + RETENTION))
        tx.write(Put(queued.path, queued.to_data()))
        return queued

    def take_up_in(self, tx: Transaction, key: str, wanted: Wanted) -> Claim:
        """Begin to drive a turn that waits. `StaleLeaseError`: it waits no more."""
        session = _session(tx.get(path_of(key)), key)
        last = log.last_id(tx, key)
        return self._claim(tx, session.taken_up(self._clock()), wanted, last_event_id=last)

    def _claim(
        self, tx: Transaction, session: Session, wanted: Wanted, *, last_event_id: int
    ) -> Claim:
        now = self._clock()
        reservation = self._quota.reserve(
            tx, run_id(session), wanted, until=session.lease_until, now=now
        )
        tx.write(Put(session.path, session.to_data()))
        return Claim(session=session, last_event_id=last_event_id, reservation=reservation)

    # --- while it is driven ------------------------------------------------------------------

    def append(
        self, claim: Claim, frames: Sequence[Frame], usage: Usage, keeping: Keeping = NOTHING
    ) -> bool:
        """Store events, and what is kept, under the lease. Returns whether somebody has cancelled.

        `usage` is the turn's so far: where its driver dies, the last one stored is what counts.

        `StaleLeaseError` when the session has another holder: nothing is written then.
        """

        def work(tx: Transaction) -> bool:
            session = self._held(tx, claim)
            if frames:
                expire_at = claim.expire_at
                tx.write(log.batch(session.key, list(frames), expire_at=expire_at, used=usage))
            tx.write(*keeping.writes)
            if (named := session.keeping(keeping.named)) != session:
                tx.write(Put(named.path, named.to_data()))
            return session.cancel_requested

        return self._store.transact(work)

    def renew(self, claim: Claim, usage: Usage, kept: Continuation) -> bool:
        """Renew lease and reservation, with the usage so far. Returns as `append` does."""

        def work(tx: Transaction) -> bool:
            session = self._held(tx, claim)
            now = self._clock()
            self._quota.renew(tx, claim.run_id, usage, until=now + LEASE, now=now)
            renewed = session.renewed(now).keeping(kept)
            tx.write(Put(renewed.path, renewed.to_data()))
            return session.cancel_requested

        return self._store.transact(work)

    def end(
        self,
        claim: Claim,
        frames: Sequence[Frame],
        failure: ClaudeRunError | None,
        usage: Usage,
        kept: Continuation,
    ) -> None:
        """The last events, the final state and the settled quota: all of it, or nothing."""

        def work(tx: Transaction) -> None:
            session = self._held(tx, claim)
            now = self._clock()
            self._quota.settle(tx, claim.run_id, usage, now=now)
            ended = session.keeping(kept).ended(
                failure, usage=usage, last_event_id=frames[-1].id, now=now
            )
            tx.write(log.batch(session.key, list(frames), expire_at=claim.expire_at))
            tx.write(Put(ended.path, ended.to_data()))

        self._store.transact(work)

    def _held(self, tx: Transaction, claim: Claim) -> Session:
        session = _session(tx.get(claim.session.path), claim.session.key)
        return session.held(claim.fence)

    # --- by others ---------------------------------------------------------------------------

    def find(self, key: str) -> Session:
        """The session; one whose driver is gone is finalised first. NOT_FOUND without one."""
        session = _session(self._store.get(path_of(key)), key)
        return self.finalise(key) if session.orphaned(self._clock()) else session

    def finalise(self, key: str) -> Session:
        """End a session whose lease has run out, once, in one transaction."""
        return self._end_for_driver(key, lambda session: session.orphaned(self._clock()))

    def abandon(self, key: str, *, turn: int) -> Session:
        """End a turn whose driver has lost the work that it drives it for, lease or not.

        A driver that still lives finds that it has another holder, and ends the run.
        """
        return self._end_for_driver(key, lambda one: not one.over and one.turn == turn)

    def _end_for_driver(self, key: str, due: Callable[[Session], bool]) -> Session:
        def work(tx: Transaction) -> Session:
            session = _session(tx.get(path_of(key)), key)
            if not due(session):
                return session
            failure = StoppedError(INTERRUPTED, code=Code.INTERRUPTED)
            return self._ended(tx, session, failure, gap=ID_GAP)

        return self._store.transact(work)

    def _ended(
        self, tx: Transaction, session: Session, failure: ClaudeRunError, *, gap: int
    ) -> Session:
        """With its turn ended by somebody who does not drive it."""
        now = self._clock()
        tail = log.tail(tx, session.key)
        after = tail.last + gap
        usage = self._quota.settle_crashed(tx, run_id(session), tail.used, now=now)
        event: SessionEvent = error(failure.message, failure.code)
        frame = Frame(id=after, data=encode(event, id=after, timestamp=now))
        ended = session.ended(failure, usage=usage, last_event_id=after, now=now)
        tx.write(log.batch(session.key, [frame], expire_at=session.created_at + RETENTION))
        tx.write(Put(ended.path, ended.to_data()))
        return ended

    def cancel(self, key: str) -> Session:
        """Ask the session's driver to stop; a session that is over stays as it is."""
        self.find(key)

        def work(tx: Transaction) -> Session:
            session = _session(tx.get(path_of(key)), key)
            if session.over or session.cancel_requested:
                return session
            if session.queued:  # there is no driver to ask
                failure = StoppedError(CANCELLED, code=Code.CANCELLED)
                return self._ended(tx, session, failure, gap=1)
            asked = replace(session, cancel_requested=True)
            tx.write(Put(asked.path, asked.to_data()))
            return asked

        return self._store.transact(work)

    def list(self, owner: str, *, limit: int, after: Cursor | None = None) -> Sequence[Session]:
        """An owner's sessions, newest first, those behind a place."""
        found = self._store.query(
            Query(
                collection="sessions",
                equal={"owner": owner},
                order="createdAt",
                descending=True,
                after=after,
                limit=min(limit, PAGE_LIMIT),
            )
        )
        return [Session.from_data(document.id, document.data) for document in found]

    def finalise_orphans(self) -> int:
        """Finalise sessions whose lease has run out, some at a time. Returns how many."""
        found = self._store.query(
            Query(
                collection="sessions",
                equal={"status": Status.PROCESSING.value},
                order="leaseUntil",
                below=self._clock() + timedelta(microseconds=1),
                limit=ORPHANS_PER_SWEEP,
            )
        )
        for document in found:
            self.finalise(document.id)
        return len(found)


def run_id(session: Session) -> str:
    """The name of a session's newest turn in the quota."""
    return f"{session.key}.{session.turn}"


def _check_new(tx: Transaction, session: Session) -> None:
    if tx.get(session.path) is not None:
        raise CallerError("A session with this id exists.", code=Code.CONFLICT)


def _session(document: Document | None, key: str) -> Session:
    if document is None:
        raise not_found()
    return Session.from_data(key, document.data)
