"""A transaction: what was read stays true until what was written is there."""

from typing import Protocol

from gateway.store.document import Document
from gateway.store.errors import StoreUsageError
from gateway.store.query import Query
from gateway.store.schema import Schema
from gateway.store.writes import Batch, Write


class Reader(Protocol):
    """Reads inside a transaction of one store; expired documents are absent."""

    def get(self, path: str) -> Document | None:
        """The document, or None."""

    def query(self, query: Query) -> list[Document]:
        """The documents found."""


class Transaction:
    """What the work of a transaction is given. All reads come before the first write.

    Firestore knows no other order; enforced everywhere. The writes are kept here and happen when
    the work has returned; work that raises has written nothing. It may be called several times,
    so whatever else it does must not matter.
    """

    def __init__(self, schema: Schema, reader: Reader) -> None:
        self._schema = schema
        self._reader = reader
        self._batch = Batch(schema)
        self.found: dict[str, bool] = {}  # path → whether it was there, of all that was read

    def get(self, path: str) -> Document | None:
        """The document, or None."""
        self._before_reading()
        self._schema.of(path)
        document = self._reader.get(path)
        self.found[path] = document is not None
        return document

    def query(self, query: Query) -> list[Document]:
        """The documents found, in the query's order."""
        self._before_reading()
        self._schema.index_for(query)
        documents = self._reader.query(query)
        self.found.update((document.path, True) for document in documents)
        return documents

    def write(self, *writes: Write) -> None:
        """Write this at the end, unless something fails."""
        self._batch.add(writes)

    @property
    def writes(self) -> tuple[Write, ...]:
        """All that is to be written."""
        return self._batch.writes

    def _before_reading(self) -> None:
        if self._batch.writes:
            raise StoreUsageError("A transaction reads after it has written.")
