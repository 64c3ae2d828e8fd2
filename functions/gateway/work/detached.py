"""Turns of sessions that their callers leave to a worker: put there, and driven by one."""

from dataclasses import dataclass

import structlog

from claude_run.errors import CallerError, ClaudeRunError, Code
from claude_run.wire import parse
from gateway.requests import MessageRequest, StartRequest
from gateway.sessions import blobs
from gateway.sessions.record import RETENTION, Session, StaleLeaseError
from gateway.sessions.registry import Registry
from gateway.store import Create, Store, Transaction
from gateway.work.hold import Hold
from gateway.work.outcome import Outcome
from gateway.work.record import Kind, State, WorkItem
from gateway.work.turns import Turns
from gateway.work.waiting import wait_for_quota

log = structlog.get_logger()

# Compressed. It is written in one commit with its session, of 9 MB at most.
MAX_REQUEST_PIECES = 5

Request = StartRequest | MessageRequest


class Detached:
    """Leaves turns to a worker: session, request and work item are one commit."""

    def __init__(self, *, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    def start(self, session: Session, request: StartRequest) -> Session:
        """Begin a session so. `CallerError` CONFLICT, PAYLOAD_TOO_LARGE; then no trace."""
        return self._store.transact(
            lambda tx: self._added(tx, self._registry.queue_in(tx, session), request)
        )

    def message(self, session: Session, request: MessageRequest) -> Session:
        """Begin the session's next turn so. `CallerError` as for `start`."""
        self._registry.find(session.key)  # an orphan is finalised first, and can then be continued
        return self._store.transact(
            lambda tx: self._added(
                tx,
                self._registry.queue_turn_in(
                    tx, session.key, request.kept_options(session.options)
                ),
                request,
            )
        )

    def _added(self, tx: Transaction, session: Session, request: Request) -> Session:
        now = session.last_activity_at
        item = WorkItem(
            key=f"{session.key}.{session.turn}",
            kind=Kind.SESSION,
            state=State.ACCEPTED,
            created_at=now,
            updated_at=now,
            not_before=now,
            lease_until=now,
            session=session.key,
        )
        tx.write(Create(item.path, item.to_data()), *_request_writes(session, request))
        return session


def _request_writes(session: Session, request: Request) -> list[Create]:
    # Never a key or a token: with those, `detach` was refused.
    value = request.model_dump(mode="json", by_alias=True, exclude_unset=True)
    writes = blobs.pieces(
        f"{session.path}/requests",
        f"{session.turn:06d}",
        value,
        expire_at=session.created_at + RETENTION,
    )
    if len(writes) > MAX_REQUEST_PIECES:
        raise CallerError(
            "With detach, a request has to be smaller: it is kept until a worker takes it up.",
            code=Code.PAYLOAD_TOO_LARGE,
            details={"field": "prompt"},
        )
    return writes


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachedSteps:
    """One for each worker; safe under threads."""

    store: Store
    turns: Turns

    def take(self, hold: Hold) -> None:
        """On to its end, or until it is put off or interrupted."""
        if hold.item.state is State.CLAIMED:
            self._run(hold)
        elif hold.item.state is State.RUNNING:
            hold.produced(self.turns.recover(hold).to_data())
        if hold.item.state is State.PRODUCED:
            hold.published({})
        if hold.item.state is State.PUBLISHED:
            hold.finish(Outcome.from_data(hold.item.outcome).state)

    def fail(self, hold: Hold, error: ClaudeRunError) -> None:
        """Give it up; whoever follows the session sees that it ended."""
        item = hold.item
        key, turn = item.session or "", int(item.key.rpartition(".")[2])
        if self.turns.find(key) is not None:
            self.turns.registry.abandon(key, turn=turn)
        hold.finish(State.FAILED, outcome=Outcome.of_failure(error).to_data())

    def _run(self, hold: Hold) -> None:
        key, turn = hold.item.session or "", int(hold.item.key.rpartition(".")[2])
        session = self.turns.find(key)
        if session is None or session.over or session.turn != turn:
            hold.finish(State.CANCELLED)
            return
        request = self._request(session)
        options = self.turns.options(request, session=session)
        try:
            claim = hold.begin(
                session=key,
                facts={"turn": turn, "before": session.usage.to_json()},
                within=lambda tx: self.turns.registry.take_up_in(
                    tx, key, self.turns.wanted(options)
                ),
            )
        except StaleLeaseError:
            hold.finish(State.CANCELLED)
            return
        except CallerError as error:
            if error.code is not Code.QUOTA_EXCEEDED:
                raise
            wait_for_quota(hold, error, now=self.turns.clock())
            return
        outcome = self.turns.drive(hold, claim, request.prompt, options, lambda _events: None)
        hold.produced(outcome.to_data())

    def _request(self, session: Session) -> Request:
        prefix = f"{session.turn:06d}"
        value = next(blobs.read(self.store, f"{session.path}/requests", prefix=prefix), {})
        if session.turn == 1:
            return parse(StartRequest, value)
        return parse(MessageRequest, value)
