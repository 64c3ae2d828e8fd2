"""A work item: its states, and which change of them is legal. Pure.

    accepted → claimed → running → produced → published → done

The agent runs between `claimed` and `produced`, at most once: `running` is entered together with
the start of its session. Whoever takes over an item in `running` goes on with what is stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from claude_run.errors import Code, StoppedError
from gateway.store import Collection, Index

RETENTION = timedelta(days=35)
# Renewed three times within.
LEASE = timedelta(seconds=30)

COLLECTION = Collection(
    name="work",
    expires=True,
    indexes=(
        Index(equal=("ready",), order="notBefore"),
        Index(equal=("ready", "stop"), order="notBefore"),
        Index(equal=("held",), order="leaseUntil"),
    ),
    unindexed=("asked", "joined", "facts", "outcome", "publication"),
)


class Kind(StrEnum):
    """What asked for it."""

    ISSUE = "issue"
    SESSION = "session"


class State(StrEnum):
    """Where an item is on its way."""

    ACCEPTED = "accepted"
    CLAIMED = "claimed"
    RUNNING = "running"
    PRODUCED = "produced"
    PUBLISHED = "published"
    DONE = "done"
    FAILED = "failed"
    JOINED = "joined"
    DENIED = "denied"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


_ENDS = {State.FAILED, State.INTERRUPTED, State.CANCELLED}
_NEXT: Mapping[State, set[State]] = {
    State.ACCEPTED: {State.CLAIMED, State.JOINED, State.CANCELLED, State.FAILED},
    # Back to `accepted`: no quota, no slot, or a worker that was told to end.
    State.CLAIMED: {
        *(State.ACCEPTED, State.RUNNING, State.DONE, State.DENIED),
        *(State.FAILED, State.CANCELLED),
    },
    # To `failed` at once only where workers end again and again at this item.
    State.RUNNING: {State.PRODUCED, State.FAILED},
    State.PRODUCED: {State.PUBLISHED, State.FAILED},
    State.PUBLISHED: {State.DONE, *_ENDS},
}
FINAL = frozenset(State) - frozenset(_NEXT)


class StaleWorkError(StoppedError):
    """Somebody else holds the item now, or it has come further: nothing was written."""

    code = Code.INTERRUPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """The record. Times are UTC.

    `asked` is `Asked.to_data()` for an issue. `joined` are the items that this one answers too.
    `facts` is what its worker found before it let the agent begin, `outcome` how the agent's run
    ended, `publication` what was published. `waits`: another item of
    its conversation has to be over first. `stop`: it asks to end what runs; `stop_requested`: it
    is asked to. `attempts` counts the workers that had it. `replays` names the item that this one
    does again, `replay` the number of such items.
    """

    key: str
    kind: Kind
    state: State
    created_at: datetime
    updated_at: datetime
    not_before: datetime
    lease_until: datetime
    fence: int = 0
    attempts: int = 0
    conversation: str | None = None
    waits: bool = False
    stop: bool = False
    stop_requested: bool = False
    asked: Mapping[str, Any] | None = None
    delivery: str | None = None
    session: str | None = None
    branch: str | None = None
    comment: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    outcome: Mapping[str, Any] = field(default_factory=dict)
    publication: Mapping[str, Any] = field(default_factory=dict)
    joined: tuple[str, ...] = ()
    joined_to: str | None = None
    replays: str | None = None
    replay: int = 0
    told_waiting: bool = False

    @property
    def path(self) -> str:
        """Where its document is."""
        return path_of(self.key)

    @property
    def over(self) -> bool:
        """Whether it has reached its final state."""
        return self.state in FINAL

    @property
    def held(self) -> bool:
        """Whether somebody works on it, or did until it crashed."""
        return not self.over and self.state is not State.ACCEPTED

    @property
    def ready(self) -> bool:
        """Whether a worker may claim it when its time has come."""
        return self.state is State.ACCEPTED and not self.waits

    @property
    def untouched(self) -> bool:
        """Whether no worker has had it yet, so that nothing is said of it on the issue."""
        return self.state is State.ACCEPTED and not self.attempts and not self.told_waiting

    @property
    def unless_served(self) -> bool:
        """Whether it is needed only where nothing was answered before."""
        return self.asked is not None and bool(self.asked["unless_served"])

    def moved(self, state: State, *, now: datetime, **changes: Any) -> "WorkItem":  # noqa: ANN401
        """In another state; `StaleWorkError` where that may not follow."""
        if state not in _NEXT.get(self.state, set()):
            raise StaleWorkError(f"The work item is {self.state} already.")
        return replace(self, state=state, updated_at=now, **changes)

    def to_data(self) -> dict[str, Any]:
        """The document."""
        return {
            "kind": self.kind.value,
            "state": self.state.value,
            "ready": self.ready,
            "held": self.held,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            "notBefore": self.not_before,
            "leaseUntil": self.lease_until,
            "fence": self.fence,
            "attempts": self.attempts,
            "conversation": self.conversation,
            "waits": self.waits,
            "stop": self.stop,
            "stopRequested": self.stop_requested,
            "asked": dict(self.asked) if self.asked is not None else None,
            "delivery": self.delivery,
            "session": self.session,
            "branch": self.branch,
            "comment": self.comment,
            "facts": dict(self.facts),
            "outcome": dict(self.outcome),
            "publication": dict(self.publication),
            "joined": list(self.joined),
            "joinedTo": self.joined_to,
            "replays": self.replays,
            "replay": self.replay,
            "toldWaiting": self.told_waiting,
            "expireAt": self.created_at + RETENTION,
        }

    @classmethod
    def from_data(cls, key: str, data: Mapping[str, Any]) -> Self:
        """The item of a document."""
        return cls(
            key=key,
            kind=Kind(data["kind"]),
            state=State(data["state"]),
            created_at=data["createdAt"],
            updated_at=data["updatedAt"],
            not_before=data["notBefore"],
            lease_until=data["leaseUntil"],
            fence=data["fence"],
            attempts=data["attempts"],
            conversation=data["conversation"],
            waits=data["waits"],
            stop=data["stop"],
            stop_requested=data["stopRequested"],
            asked=data["asked"],
            delivery=data["delivery"],
            session=data["session"],
            branch=data["branch"],
            comment=data["comment"],
            facts=data["facts"],
            outcome=data["outcome"],
            publication=data["publication"],
            joined=tuple(data["joined"]),
            joined_to=data["joinedTo"],
            replays=data["replays"],
            replay=data["replay"],
            told_waiting=data["toldWaiting"],
        )


def path_of(key: str) -> str:
    """Where an item's document is."""
    return f"{COLLECTION.name}/{key}"
