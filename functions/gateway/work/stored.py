"""Work items and conversations, as a store or one of its transactions finds them."""

from typing import Protocol

from gateway.store import Document, Transaction
from gateway.work import conversation, record
from gateway.work.conversation import Conversation
from gateway.work.record import StaleWorkError, WorkItem


class Documents(Protocol):
    """A store, or a transaction of one."""

    def get(self, path: str) -> Document | None:
        """The document, or None."""


def item(documents: Documents, key: str) -> WorkItem | None:
    """The item, or None."""
    found = documents.get(record.path_of(key))
    return None if found is None else WorkItem.from_data(key, found.data)


def held(tx: Transaction, claimed: WorkItem) -> WorkItem:
    """The item as it is now, for the holder that `claimed` was given to; else `StaleWorkError`."""
    found = item(tx, claimed.key)
    if found is None or not found.held or found.fence != claimed.fence:
        raise StaleWorkError("The work item has another holder.")
    return found


def talk(documents: Documents, key: str) -> Conversation:
    """The conversation of exactly this key."""
    found = documents.get(conversation.path_of(key))
    return Conversation(key=key) if found is None else Conversation.from_data(key, found.data)


def resolved(documents: Documents, key: str) -> Conversation:
    """The conversation of this key, or the one that it is an alias of."""
    found = talk(documents, key)
    # An alias is of a conversation that is none.
    return found if found.alias is None else talk(documents, found.alias)
