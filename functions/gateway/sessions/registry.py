"""Sessions in the store: each legal step as one transaction, with the quota in the same one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from claude_run.errors import CallerError, ClaudeRunError, Code, StoppedError
from gateway.quota import Quota, Reservation, Wanted
from gateway.sessions import log
from gateway.sessions.events import SessionEvent, encode, error
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
from gateway.store import Document, Put, Query, Store, Transaction

PAGE_LIMIT = 100
# Of one sweep; the next one takes the rest.
ORPHANS_PER_SWEEP = 50
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

    def start(self, session: Session, wanted: Wanted) -> Claim:
        """Begin a session's first turn. `CallerError` CONFLICT, QUOTA_EXCEEDED; then no trace."""

        def work(tx: Transaction) -> Claim:
            if tx.get(session.path) is not None:
                raise CallerError("A session with this id exists.", code=Code.CONFLICT)
            return self._claim(tx, session, wanted, last_event_id=0)

        return self._store.transact(work)

    def next_turn(self, key: str, options: Mapping[str, Any], wanted: Wanted) -> Claim:
        """Begin the next turn. `CallerError` CONFLICT while one is processing."""
        self.find(key)  # an orphan is finalised first, and can then be continued

        def work(tx: Transaction) -> Claim:
            session = _session(tx.get(path_of(key)), key)
            last = log.last_id(tx, key)
            claimed = session.next_turn(options, self._clock())
            last = max(last, session.last_event_id)
            return self._claim(tx, claimed, wanted, last_event_id=last)

        return self._store.transact(work)

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

    def append(self, claim: Claim, frames: Sequence[Frame], keeping: Keeping = NOTHING) -> bool:
        """Store events, and what is kept, under the lease. Returns whether somebody has cancelled.

        `StaleLeaseError` when the session has another holder: nothing is written then.
        """

        def work(tx: Transaction) -> bool:
            session = self._held(tx, claim)
            if frames:
                tx.write(log.batch(session.key, list(frames), expire_at=claim.expire_at))
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

        def work(tx: Transaction) -> Session:
            session = _session(tx.get(path_of(key)), key)
            now = self._clock()
            if not session.orphaned(now):
                return session
            number = log.last_id(tx, key) + ID_GAP
            usage = self._quota.settle_crashed(tx, run_id(session), now=now)
            failure = StoppedError(INTERRUPTED, code=Code.INTERRUPTED)
            event: SessionEvent = error(INTERRUPTED, Code.INTERRUPTED)
            frame = Frame(id=number, data=encode(event, id=number, timestamp=now))
            ended = session.ended(failure, usage=usage, last_event_id=number, now=now)
            tx.write(log.batch(key, [frame], expire_at=session.created_at + RETENTION))
            tx.write(Put(ended.path, ended.to_data()))
            return ended

        return self._store.transact(work)

    def cancel(self, key: str) -> Session:
        """Ask the session's driver to stop; a session that is over stays as it is."""
        self.find(key)

        def work(tx: Transaction) -> Session:
            session = _session(tx.get(path_of(key)), key)
            if session.over or session.cancel_requested:
                return session
            asked = replace(session, cancel_requested=True)
            tx.write(Put(asked.path, asked.to_data()))
            return asked

        return self._store.transact(work)

    def list(self, owner: str, *, limit: int, before: datetime | None = None) -> Sequence[Session]:
        """An owner's sessions, newest first, those made before `before`."""
        found = self._store.query(
            Query(
                collection="sessions",
                equal={"owner": owner},
                order="createdAt",
                descending=True,
                below=before,
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


def _session(document: Document | None, key: str) -> Session:
    if document is None:
        raise not_found()
    return Session.from_data(key, document.data)
