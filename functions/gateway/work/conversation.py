"""A conversation: one repository's issue, what works on it and what waits for that. Pure.

It has one item at a time that is claimed, or the next to be: `current`. Whatever else is asked
waits behind it, in order. A pull request that we have published is no conversation of its own: its
record is an `alias` of the issue's.
"""

from collections.abc import Collection as Keys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from gateway.store import Collection

RETENTION = timedelta(days=90)
# More than people write on an issue while a run lasts, and a document of 10 KB.
MAX_WAITING = 200
# No digest: whoever goes on with a draft makes it ready, also without a further change.
DRAFT = "draft"

COLLECTION = Collection(name="conversations", expires=True, unindexed=("waiting",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The record. `served`: something that was asked here was answered, or is being.

    `pull`: the pull request of its branch, `base`: the commit that the branch began at, `shown`:
    the digest of the changes that are there, or `DRAFT` as long as they are not finished.
    """

    key: str
    current: str | None = None
    waiting: tuple[str, ...] = ()
    served: bool = False
    session: str | None = None
    branch: str | None = None
    comment: int | None = None
    pull: int | None = None
    base: str | None = None
    shown: str | None = None
    alias: str | None = None

    @property
    def path(self) -> str:
        """Where its document is."""
        return path_of(self.key)

    @property
    def full(self) -> bool:
        """Whether nothing more may wait here."""
        return len(self.waiting) >= MAX_WAITING

    def joined_by(self, work: str) -> "Conversation":
        """With one more item: the current one, or one that waits."""
        if self.current is None:
            return replace(self, current=work)
        return replace(self, waiting=(*self.waiting, work))

    def left_by(self, work: str, following: str | None) -> "Conversation":
        """With an item over, and another one that waited in its place."""
        waiting = tuple(key for key in self.waiting if key != following)
        current = following if self.current == work else self.current
        return replace(self, current=current, waiting=waiting)

    def without(self, taken: Keys[str]) -> "Conversation":
        """With some items waiting no more."""
        return replace(self, waiting=tuple(key for key in self.waiting if key not in taken))

    def to_data(self, now: datetime) -> dict[str, Any]:
        """The document; it ends so long after this."""
        return {
            "current": self.current,
            "waiting": list(self.waiting),
            "served": self.served,
            "session": self.session,
            "branch": self.branch,
            "comment": self.comment,
            "pull": self.pull,
            "base": self.base,
            "shown": self.shown,
            "alias": self.alias,
            "expireAt": now + RETENTION,
        }

    @classmethod
    def from_data(cls, key: str, data: Mapping[str, Any]) -> Self:
        """The conversation of a document."""
        return cls(
            key=key,
            current=data["current"],
            waiting=tuple(data["waiting"]),
            served=data["served"],
            session=data["session"],
            branch=data["branch"],
            comment=data["comment"],
            pull=data["pull"],
            base=data["base"],
            shown=data.get("shown"),
            alias=data["alias"],
        )


def path_of(key: str) -> str:
    """Where a conversation's document is."""
    return f"{COLLECTION.name}/{key}"


def sibling(key: str, number: int) -> str:
    """The key of the conversation of this number in the same repository."""
    return f"{key.partition('-')[0]}-{number}"
