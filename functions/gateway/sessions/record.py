"""A session's record: its state, its lease, and which changes of both are legal. Pure.

A turn is driven by one holder at a time. Its lease has a fencing number, one more for each holder;
every write of a holder names its number, and the record refuses an old one. So a driver that was
paused past its lease cannot write over what its successor, or a finaliser, has written.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from claude_run.errors import CallerError, ClaudeRunError, Code, StoppedError
from gateway.store import Collection, Index

RETENTION = timedelta(days=30)
# The owner of issues' sessions: no caller's `sub` is a word.
ISSUES = "github"
# Renewed three times within; a crashed session is found at most this late.
LEASE = timedelta(seconds=30)
# How long a turn may wait for a worker to drive it.
MAX_QUEUED = timedelta(days=3)
# Whoever finalises for a dead driver goes on behind whatever that one may have sent unstored.
ID_GAP = 4096

COLLECTION = Collection(
    name="sessions",
    expires=True,
    indexes=(
        Index(equal=("owner",), order="createdAt", descending=True),
        Index(equal=("status",), order="leaseUntil"),
    ),
    unindexed=("repository", "usage", "errorMessage", "options"),
)


class Status(StrEnum):
    """As on the wire."""

    PROCESSING = "processing"
    COMPLETED = "completed"
    ERROR = "error"
    CANCELLED = "cancelled"


# What may follow what. A message makes a finished session process again.
_NEXT = {
    Status.PROCESSING: {Status.COMPLETED, Status.ERROR, Status.CANCELLED},
    Status.COMPLETED: {Status.PROCESSING},
    Status.ERROR: {Status.PROCESSING},
    Status.CANCELLED: {Status.PROCESSING},
}


class Kind(StrEnum):
    """What began it: a caller, or an issue."""

    INTERACTIVE = "interactive"
    ISSUE = "issue"


class StaleLeaseError(StoppedError):
    """Somebody else holds the session now, or has ended it."""

    code = Code.INTERRUPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a session has used, over all turns."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=self.cost_usd + other.cost_usd,
        )

    def to_json(self) -> dict[str, Any]:
        """As in events and records."""
        return {
            "inputTokens": self.input_tokens,
            "outputTokens": self.output_tokens,
            "costUsd": self.cost_usd,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(
            input_tokens=value["inputTokens"],
            output_tokens=value["outputTokens"],
            cost_usd=value["costUsd"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """By what a next turn finds what this one has kept; None: nothing yet."""

    runner_session: str | None = None
    changes_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The record. Times are UTC; `usage` is of the turns that are over.

    `queued`: its newest turn waits for a worker to drive it.
    """

    key: str
    owner: str
    session_id: str
    status: Status
    turn: int
    fence: int
    lease_until: datetime
    created_at: datetime
    last_activity_at: datetime
    completed_at: datetime | None = None
    last_event_id: int = 0
    cancel_requested: bool = False
    repository: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    runner_session: str | None = None
    changes_version: str | None = None
    error_message: str | None = None
    usage: Usage = field(default_factory=Usage)
    kind: Kind = Kind.INTERACTIVE
    queued: bool = False

    @property
    def path(self) -> str:
        """Where its document is."""
        return path_of(self.key)

    @property
    def over(self) -> bool:
        """Whether its newest turn has ended."""
        return self.status is not Status.PROCESSING

    def orphaned(self, now: datetime) -> bool:
        """Whether its driver has not renewed its lease in time."""
        return not self.over and self.lease_until <= now

    def held(self, fence: int) -> "Session":
        """This session, if `fence` is its holder's number; else `StaleLeaseError`."""
        if self.over or self.fence != fence:
            raise StaleLeaseError("The session has another holder.", code=Code.INTERRUPTED)
        return self

    def renewed(self, now: datetime) -> "Session":
        """With its lease renewed by its holder."""
        return replace(self, lease_until=now + LEASE, last_activity_at=now)

    def keeping(self, kept: Continuation) -> "Session":
        """With what its turn has kept so far."""
        return replace(
            self,
            runner_session=kept.runner_session or self.runner_session,
            changes_version=kept.changes_version or self.changes_version,
        )

    def next_turn(self, options: Mapping[str, Any], now: datetime) -> "Session":
        """With a new turn begun under a new lease; `CallerError` while one is processing."""
        if Status.PROCESSING not in _NEXT[self.status]:
            raise CallerError(
                "The session is still processing its last message. Wait for it, or cancel it.",
                code=Code.CONFLICT,
            )
        return replace(
            self,
            status=Status.PROCESSING,
            turn=self.turn + 1,
            fence=self.fence + 1,
            lease_until=now + LEASE,
            last_activity_at=now,
            completed_at=None,
            cancel_requested=False,
            options=options,
            error_message=None,
        )

    def in_queue(self, now: datetime) -> "Session":
        """With its new turn left to a worker, for as long as one may take to come."""
        return replace(self, queued=True, lease_until=now + MAX_QUEUED)

    def taken_up(self, now: datetime) -> "Session":
        """With its new turn's driver; `StaleLeaseError` where it waits for none any more."""
        if self.over or not self.queued:
            raise StaleLeaseError("The turn waits for no worker.", code=Code.INTERRUPTED)
        return replace(
            self,
            queued=False,
            fence=self.fence + 1,
            lease_until=now + LEASE,
            last_activity_at=now,
        )

    def ended(
        self, error: ClaudeRunError | None, *, usage: Usage, last_event_id: int, now: datetime
    ) -> "Session":
        """With its turn over: COMPLETED, CANCELLED or ERROR, by how it ended."""
        status = Status.COMPLETED
        if error is not None:
            status = Status.CANCELLED if error.code is Code.CANCELLED else Status.ERROR
        if status not in _NEXT[self.status]:
            raise StaleLeaseError("The turn is over already.", code=Code.INTERRUPTED)
        return replace(
            self,
            status=status,
            completed_at=now,
            last_activity_at=now,
            last_event_id=last_event_id,
            error_message=error.message if error else None,
            usage=self.usage + usage,
            queued=False,
            # Nobody holds it now: a late write of its holder names an old number.
            fence=self.fence + 1,
        )

    def to_data(self) -> dict[str, Any]:
        """The document."""
        return {
            "owner": self.owner,
            "sessionId": self.session_id,
            "status": self.status.value,
            "turn": self.turn,
            "fence": self.fence,
            "leaseUntil": self.lease_until,
            "createdAt": self.created_at,
            "lastActivityAt": self.last_activity_at,
            "completedAt": self.completed_at,
            "lastEventId": self.last_event_id,
            "cancelRequested": self.cancel_requested,
            "repository": dict(self.repository) if self.repository is not None else None,
            "options": dict(self.options),
            "runnerSession": self.runner_session,
            "changesVersion": self.changes_version,
            "errorMessage": self.error_message,
            "usage": self.usage.to_json(),
            "kind": self.kind.value,
            "queued": self.queued,
            "expireAt": self.created_at + RETENTION,
        }

    @classmethod
    def from_data(cls, key: str, data: Mapping[str, Any]) -> Self:
        """The session of a document."""
        return cls(
            key=key,
            owner=data["owner"],
            session_id=data["sessionId"],
            status=Status(data["status"]),
            turn=data["turn"],
            fence=data["fence"],
            lease_until=data["leaseUntil"],
            created_at=data["createdAt"],
            last_activity_at=data["lastActivityAt"],
            completed_at=data["completedAt"],
            last_event_id=data["lastEventId"],
            cancel_requested=data["cancelRequested"],
            repository=data["repository"],
            options=data["options"],
            runner_session=data["runnerSession"],
            changes_version=data["changesVersion"],
            error_message=data["errorMessage"],
            usage=Usage.from_json(data["usage"]),
            # Sessions of the first releases have neither.
            kind=Kind(data.get("kind", Kind.INTERACTIVE)),
            queued=data.get("queued", False),
        )

    def public(self) -> dict[str, Any]:
        """What its owner is shown, as the API reference has it; times in ms."""
        shown: dict[str, Any] = {
            "sessionId": self.session_id,
            "status": self.status.value,
            "currentTurn": self.turn,
            "createdAt": milliseconds(self.created_at),
            "lastActivityAt": milliseconds(self.last_activity_at),
            "usage": self.usage.to_json(),
        }
        if self.repository is not None:
            shown["repository"] = dict(self.repository)
        if self.completed_at is not None:
            shown["completedAt"] = milliseconds(self.completed_at)
        if self.error_message is not None:
            shown["errorMessage"] = self.error_message
        return shown


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return int(moment.astimezone(UTC).timestamp() * 1000)


def key_of(owner: str, session_id: str) -> str:
    """The key of an owner's session: two owners may use the same id, and neither can tell."""
    return f"{hashlib.sha256(owner.encode()).hexdigest()[:32]}.{session_id}"


def path_of(key: str) -> str:
    """Where a session's document is."""
    return f"sessions/{key}"


def not_found() -> CallerError:
    """What is answered for a session that is not there, and for one that is another's."""
    return CallerError("There is no such session.", code=Code.NOT_FOUND)
