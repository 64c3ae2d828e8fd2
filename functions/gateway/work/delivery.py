"""A delivery of GitHub's that brought work: its id, and which work. Pure; never changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from gateway.github.asked import Asked
from gateway.store import Collection, Index

# GitHub lets deliveries be sent again for some days; a replay of a signed body has no end.
RETENTION = timedelta(days=35)

COLLECTION = Collection(
    name="deliveries",
    expires=True,
    indexes=(Index(order="receivedAt", descending=True),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The record; all but `work` is for people to recognise it by."""

    id: str
    work: str
    received_at: datetime
    repository: str
    issue: int
    trigger: str
    author: str

    @classmethod
    def of(cls, id: str, asked: Asked, *, now: datetime) -> Self:  # noqa: A002 - GitHub's own word
        """The delivery that asked this."""
        return cls(
            id=id,
            work=asked.key,
            received_at=now,
            repository=asked.repository.name,
            issue=asked.issue,
            trigger=asked.trigger.value,
            author=asked.author,
        )

    def to_data(self) -> dict[str, Any]:
        """The document."""
        return {
            "work": self.work,
            "receivedAt": self.received_at,
            "repository": self.repository,
            "issue": self.issue,
            "trigger": self.trigger,
            "author": self.author,
            "expireAt": self.received_at + RETENTION,
        }

    @classmethod
    def from_data(cls, id: str, data: Mapping[str, Any]) -> Self:  # noqa: A002
        """The delivery of a document."""
        return cls(
            id=id,
            work=data["work"],
            received_at=data["receivedAt"],
            repository=data["repository"],
            issue=data["issue"],
            trigger=data["trigger"],
            author=data["author"],
        )


def path_of(delivery: str) -> str:
    """Where a delivery's document is."""
    return f"{COLLECTION.name}/{delivery}"
