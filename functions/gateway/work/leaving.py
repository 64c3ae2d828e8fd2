"""Turns of sessions that their callers leave to a worker: session and work item in one commit."""

from collections.abc import Mapping
from typing import Any

from claude_run.errors import CallerError, Code
from gateway.requests import MessageRequest, StartRequest, to_run_options
from gateway.sessions import blobs
from gateway.sessions.record import RETENTION, Session
from gateway.sessions.registry import Registry
from gateway.store import Create, Put, Store, Transaction
from gateway.work.record import Kind, State, WorkItem

# Compressed. It is written in one commit with its session, of 9 MB at most.
MAX_REQUEST_PIECES = 5

Request = StartRequest | MessageRequest


def check_detached(request: Request, *, session: Session | None) -> None:
    """Raise what a worker would: whoever asks is told at once."""
    to_run_options(
        request,
        earlier=session.options if session else {},
        repository=session.repository if session else None,
        resume=None,
        changes=None,
    )


class Detached:
    """Leaves turns to a worker."""

    def __init__(self, *, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    def start(self, session: Session, request: StartRequest) -> Session:
        """Begin a session so. `CallerError` CONFLICT, PAYLOAD_TOO_LARGE; then no trace."""
        return self._store.transact(
            lambda tx: self._added(tx, self._registry.queue_in(tx, session), request)
        )

    def message(
        self, session: Session, request: MessageRequest, options: Mapping[str, Any]
    ) -> Session:
        """Begin the session's next turn so, with these to keep. `CallerError` as for `start`."""
        self._registry.find(session.key)  # an orphan is finalised first, and can then be continued
        return self._store.transact(
            lambda tx: self._added(
                tx,
                self._registry.queue_turn_in(tx, session.key, options),
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


def _request_writes(session: Session, request: Request) -> list[Put]:
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
