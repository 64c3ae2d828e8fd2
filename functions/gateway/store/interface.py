"""What the rest of the gateway knows of a store."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from gateway.store.document import Document
from gateway.store.query import Query
from gateway.store.transaction import Transaction
from gateway.store.writes import Write

T = TypeVar("T")

# What one call may take, whatever happens; then it is `StoreUnavailableError`.
READ_SECONDS = 5.0
WRITE_SECONDS = 8.0
TRANSACT_SECONDS = 10.0
_PING_PATH = "health/ping"


class Store(Protocol):
    """Documents in collections. Safe under threads, processes and fork; every call is bounded.

    Whatever has `expireAt` in the past is absent for every call, deleted yet or not.
    """

    def get(self, path: str, *, seconds: float = READ_SECONDS) -> Document | None:
        """The document, or None."""

    def query(self, query: Query) -> list[Document]:
        """The documents found, in the query's order."""

    def write(self, writes: Iterable[Write]) -> None:
        """All of this or nothing. When it returns, it is stored for good."""

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """What `work` returns, once its writes are stored; it may be called several times."""

    def close(self) -> None:
        """Let go of connections. The store may be used again."""


def ping(store: Store, *, seconds: float) -> None:
    """Ask the store something; `StoreUnavailableError` unless it answers in time."""
    store.get(_PING_PATH, seconds=seconds)
