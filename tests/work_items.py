"""What somebody asked, and the items that it became, for tests of the work queue."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gateway.github.asked import Asked, RepositoryRef, Trigger
from gateway.store import Query, Store
from gateway.work.conversation import Conversation
from gateway.work.record import WorkItem


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, delta: timedelta) -> None:
        """Time passes."""
        self.now += delta


ASKED = Asked(
    repository=RepositoryRef(id=7, name="o/r", installation_id=3, default_branch="main"),
    issue=5,
    is_pull=False,
    source="issue",
    trigger=Trigger.OPENED,
    author="ann",
    author_id=11,
    title="It is broken",
    text="Please mend it",
    url="https://github.com/o/r/issues/5",
)
COMMENT = replace(ASKED, source="comment:1", trigger=Trigger.MENTIONED, text="@claude and this")


def all_items(store: Store) -> list[WorkItem]:
    """All items."""
    found = store.query(Query(collection="work", limit=500))
    return [WorkItem.from_data(one.id, one.data) for one in found]


def items(store: Store) -> dict[str, WorkItem]:
    """All items, by their source."""
    return {(item.asked or {})["source"]: item for item in all_items(store)}


def conversation(store: Store, key: str = "7-5") -> Conversation:
    """The conversation as it is stored."""
    found = store.get(f"conversations/{key}")
    assert found is not None
    return Conversation.from_data(key, found.data)
