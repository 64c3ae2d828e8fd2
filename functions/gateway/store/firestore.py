"""The store of a deployment: Firestore."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar

from google.api_core import exceptions
from google.cloud.firestore_v1 import types

from gateway.backoff import Backoff
from gateway.store import firestore_codec
from gateway.store.document import Document, is_expired
from gateway.store.errors import (
    AlreadyExistsError,
    MissingError,
    StoreUnavailableError,
    StoreUsageError,
)
from gateway.store.firestore_client import Connection, reported
from gateway.store.interface import READ_SECONDS, TRANSACT_SECONDS, WRITE_SECONDS
from gateway.store.query import Query
from gateway.store.schema import Schema
from gateway.store.transaction import Transaction
from gateway.store.writes import Batch, Create, Update, Write

T = TypeVar("T")

# For what passes by itself in a moment: a lost connection, an instance that woke up.
BLIP_ATTEMPTS = 5
ROLLBACK_SECONDS = 2.0
# What a commit gets at least: cut off, it would leave everybody not knowing.
COMMIT_SECONDS = 3.0
# How many documents are asked for where some of the first ones were expired.
MAX_PAGE = 300

# What was read, or asked to be, may be tried again.
_AGAIN = (
    exceptions.Aborted,
    exceptions.ServiceUnavailable,
    exceptions.InternalServerError,
    exceptions.ResourceExhausted,
)
# After a commit, these leave open whether it was applied; `Aborted` and the like say that not.
_UNKNOWN = (exceptions.ServerError, exceptions.Cancelled)


class FirestoreStore:
    """Documents in one database. Nothing is connected before the first call."""

    def __init__(
        self,
        project: str,
        database: str,
        *,
        schema: Schema,
        clock: Callable[[], datetime],
        emulator: str | None = None,
    ) -> None:
        self._schema = schema
        self._clock = clock
        self._connection = Connection(project, database, emulator=emulator)
        self._blips = Backoff(attempts=BLIP_ATTEMPTS)
        self._contention = Backoff()
        self._inside = threading.local()

    def __repr__(self) -> str:
        return f"FirestoreStore({self._connection.database!r})"

    def get(self, path: str, *, seconds: float = READ_SECONDS) -> Document | None:
        """The document, or None."""
        self._schema.of(path)
        return self._read(seconds, lambda reader: reader.get(path))

    def query(self, query: Query) -> list[Document]:
        """The documents found, in the query's order."""
        self._schema.index_for(query)
        return self._read(READ_SECONDS, lambda reader: reader.query(query))

    def write(self, writes: Iterable[Write]) -> None:
        """All of this or nothing."""
        batch = Batch(self._schema)
        batch.add(writes)
        # Whether what is updated has expired, only a read can tell; and whether what is in the way
        # of something new has.
        is_blind = not any(isinstance(write, Update) for write in batch.writes)
        if not (is_blind and self._is_committed(batch.writes)):
            self._transact(lambda transaction: transaction.write(*batch.writes), is_careful=True)

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """What `work` returns, once its writes are stored; it may be called several times."""
        return self._transact(work, is_careful=False)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _read(self, seconds: float, ask: Callable[["_Reader"], T]) -> T:
        last: Exception | None = None
        with reported():
            for left in self._blips.tries(seconds):
                try:
                    return ask(_Reader(self._connection, self._clock(), left))
                except _AGAIN as error:
                    last = error
        raise StoreUnavailableError(type(last).__name__) from last

    def _is_committed(self, writes: tuple[Write, ...]) -> bool:
        """Write without reading; False if something is in the way of a `Create`."""
        self._check_outside()
        messages = [self._message(write, is_read=False) for write in writes]
        # A batch that creates cannot happen twice: the second time it meets the first.
        is_repeatable = any(isinstance(write, Create) for write in writes)
        last: Exception | None = None
        is_unknown = False
        with reported():
            for left in self._blips.tries(WRITE_SECONDS):
                try:
                    self._connection.commit(messages, transaction=b"", seconds=left)
                except exceptions.AlreadyExists as error:
                    if not is_unknown:
                        return False
                    raise StoreUnavailableError("AlreadyExists", is_outcome_unknown=True) from error
                except (exceptions.Aborted, exceptions.ResourceExhausted) as error:
                    last = error
                except _UNKNOWN as error:
                    last, is_unknown = error, True
                    if not is_repeatable:
                        break
                else:
                    return True
        raise StoreUnavailableError(type(last).__name__, is_outcome_unknown=is_unknown) from last

    def _transact(self, work: Callable[[Transaction], T], *, is_careful: bool) -> T:
        last: Exception | None = None
        earlier = b""
        with reported(), self._marked():
            for left in self._contention.tries(TRANSACT_SECONDS):
                reader = _TransactionReader(self._connection, self._clock(), left, earlier)
                try:
                    transaction = Transaction(self._schema, reader)
                    result = work(transaction)
                    self._finish(transaction, reader, is_careful=is_careful)
                except exceptions.AlreadyExists as error:
                    last, is_careful = error, True
                except _AGAIN as error:
                    last = error
                else:
                    return result
                finally:
                    reader.end()
                # Firestore serves the one first that has waited longest.
                earlier = reader.id or earlier
        raise StoreUnavailableError(type(last).__name__) from last

    def _finish(
        self, transaction: Transaction, reader: "_TransactionReader", *, is_careful: bool
    ) -> None:
        found = dict(transaction.found)
        for write in transaction.writes:
            is_asked = isinstance(write, Update) or (is_careful and isinstance(write, Create))
            if is_asked and write.path not in found:
                found[write.path] = reader.get(write.path) is not None
            if isinstance(write, Create) and found.get(write.path):
                raise AlreadyExistsError(write.path)
            if isinstance(write, Update) and not found[write.path]:
                raise MissingError(write.path)
        reader.commit(
            [self._message(write, is_read=write.path in found) for write in transaction.writes]
        )

    def _message(self, write: Write, *, is_read: bool) -> types.Write:
        return firestore_codec.write(self._connection.documents, write, is_read=is_read)

    @contextmanager
    def _marked(self) -> Iterator[None]:
        self._check_outside()
        self._inside.is_set = True
        try:
            yield
        finally:
            self._inside.is_set = False

    def _check_outside(self) -> None:
        # It would wait for locks of its own.
        if getattr(self._inside, "is_set", False):
            raise StoreUsageError("A transaction writes to the store beside itself.")


class _Reader:
    """Reads, as of one moment, with one deadline for all of them."""

    def __init__(self, connection: Connection, now: datetime, seconds: float) -> None:
        self._connection = connection
        self._now = now
        self._end = time.monotonic() + seconds

    def get(self, path: str) -> Document | None:
        """The document, or None."""
        found = self._ask(
            self._connection.client.batch_get_documents,
            {
                "database": self._connection.database,
                "documents": [f"{self._connection.documents}/{path}"],
            },
        )
        return next((one for one in found if not is_expired(one.data, self._now)), None)

    def query(self, query: Query) -> list[Document]:
        """The documents found: further pages where some were expired."""
        found: list[Document] = []
        limit = query.limit
        rest = query
        while True:
            page = self._page(rest, limit)
            found.extend(one for one in page if not is_expired(one.data, self._now))
            if len(page) < limit or len(found) >= query.limit:
                return found[: query.limit]
            rest = rest.following(page[-1])
            limit = min(2 * limit, max(limit, MAX_PAGE))

    def _page(self, query: Query, limit: int) -> list[Document]:
        documents = self._connection.documents
        parent, _, _ = query.collection.rpartition("/")
        return self._ask(
            self._connection.client.run_query,
            {
                "parent": f"{documents}/{parent}" if parent else documents,
                "structured_query": firestore_codec.structured(documents, query, limit=limit),
            },
        )

    def _ask(self, call: Callable[..., Any], request: dict[str, Any]) -> list[Document]:
        answers = call(
            request | self._selector(),
            timeout=self._left(),
            retry=None,
            metadata=self._connection.metadata,
        )
        found = []
        for answer in answers:
            self._note(answer.transaction)
            document = firestore_codec.found(self._connection.documents, answer)
            if document is not None:
                found.append(document)
        return found

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise StoreUnavailableError("DeadlineExceeded")
        return left

    def _selector(self) -> dict[str, Any]:
        return {}

    def _note(self, transaction: bytes) -> None:
        """Remember the transaction that an answer names."""


class _TransactionReader(_Reader):
    """Reads in a transaction, which begins with the first of them: one round trip less."""

    def __init__(
        self, connection: Connection, now: datetime, seconds: float, earlier: bytes
    ) -> None:
        super().__init__(connection, now, seconds)
        self.id = b""
        self._earlier = earlier
        self._is_open = False
        self._turn: threading.Lock | None = None

    def get(self, path: str) -> Document | None:
        """The document, or None."""
        self._wait_for_turn(path)
        return super().get(path)

    def query(self, query: Query) -> list[Document]:
        """The documents found."""
        self._wait_for_turn(query.collection)
        return super().query(query)

    def commit(self, writes: list[types.Write]) -> None:
        """Commit, and give the locks back."""
        if not writes and not self.id:
            return
        try:
            seconds = max(COMMIT_SECONDS, self._left())
            self._connection.commit(writes, transaction=self.id, seconds=seconds)
        except _UNKNOWN as error:
            raise StoreUnavailableError(type(error).__name__, is_outcome_unknown=True) from error
        self._is_open = False

    def end(self) -> None:
        """Give back what is held: without a commit Firestore's locks would last a minute."""
        if self._is_open:
            self._is_open = False
            with suppress(exceptions.GoogleAPICallError):
                self._connection.roll_back(self.id, seconds=ROLLBACK_SECONDS)
        if self._turn is not None:
            self._turn.release()
            self._turn = None

    def _wait_for_turn(self, path: str) -> None:
        if self._turn is not None:
            return
        turn = self._connection.turns.of(path)
        if not turn.acquire(timeout=self._left()):
            raise StoreUnavailableError("another thread has its turn")
        self._turn = turn

    def _selector(self) -> dict[str, Any]:
        if self.id:
            return {"transaction": self.id}
        return {"new_transaction": {"read_write": {"retry_transaction": self._earlier}}}

    def _note(self, transaction: bytes) -> None:
        if transaction:
            self.id = transaction
            self._is_open = True
