"""The store of a laptop: one SQLite file."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from gateway.backoff import Backoff
from gateway.store import sqlite_codec, sqlite_file
from gateway.store.document import EXPIRE_AT, Document, family, split
from gateway.store.errors import (
    AlreadyExistsError,
    MissingError,
    StoreUnavailableError,
)
from gateway.store.interface import READ_SECONDS, TRANSACT_SECONDS, WRITE_SECONDS
from gateway.store.ordering import microseconds
from gateway.store.query import Query
from gateway.store.schema import Schema
from gateway.store.sqlite_pool import Pool
from gateway.store.sqlite_query import select
from gateway.store.transaction import Transaction
from gateway.store.writes import Batch, Create, Delete, Increment, Put, Update, Write

T = TypeVar("T")

# Expired documents leave with a commit, at most this many, and not with every one.
SWEEP_DOCUMENTS = 50
SWEEP_SECONDS = 1.0

_GET = """
    SELECT data FROM documents
    WHERE collection = ? AND id = ? AND (expire_at IS NULL OR expire_at > ?)
"""
_PUT = """
    INSERT INTO documents (collection, id, family, expire_at, places, data)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (collection, id) DO UPDATE SET
    expire_at = excluded.expire_at, places = excluded.places, data = excluded.data
"""
_CREATE = f"{_PUT} WHERE documents.expire_at <= ?"
_DELETE = "DELETE FROM documents WHERE collection = ? AND id = ?"
_SWEEP = """
    DELETE FROM documents WHERE rowid IN
    (SELECT rowid FROM documents WHERE expire_at <= ? ORDER BY expire_at LIMIT ?)
"""


class SqliteStore:
    """Documents in one file. Nothing is opened before the first call."""

    def __init__(self, path: Path, *, schema: Schema, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._schema = schema
        self._clock = clock
        self._pool = Pool(self._connect)
        self._is_prepared = False
        self._preparing = threading.Lock()
        self._swept = float("-inf")

    def __repr__(self) -> str:
        return f"SqliteStore({str(self._path)!r})"

    def get(self, path: str, *, seconds: float = READ_SECONDS) -> Document | None:
        """The document, or None."""
        self._schema.of(path)
        with self._pool.reading(seconds) as connection:
            return _Reader(connection, self._schema, self._now()).get(path)

    def query(self, query: Query) -> list[Document]:
        """The documents found, in the query's order."""
        self._schema.index_for(query)
        with self._pool.reading(READ_SECONDS) as connection:
            return _Reader(connection, self._schema, self._now()).query(query)

    def write(self, writes: Iterable[Write]) -> None:
        """All of this or nothing."""
        batch = Batch(self._schema)
        batch.add(writes)
        self._pool.write(lambda connection: self._apply(connection, batch.writes), WRITE_SECONDS)

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """What `work` returns, once its writes are stored. Here it is called once."""

        def done(connection: sqlite3.Connection) -> T:
            transaction = Transaction(self._schema, _Reader(connection, self._schema, self._now()))
            result = work(transaction)
            self._apply(connection, transaction.writes)
            return result

        return self._pool.write(done, TRANSACT_SECONDS)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._pool.close()

    def _now(self) -> int:
        return microseconds(self._clock())

    def _apply(self, connection: sqlite3.Connection, writes: Iterable[Write]) -> None:
        now = self._now()
        for write in writes:
            _apply(connection, write, now)
        if time.monotonic() - self._swept >= SWEEP_SECONDS:
            connection.execute(_SWEEP, (now, SWEEP_DOCUMENTS))
            self._swept = time.monotonic()

    def _connect(self, seconds: float) -> sqlite3.Connection:
        if self._is_prepared:
            return self._opened(seconds)
        # The others wait for the first one: none may be open while the file is created.
        if not self._preparing.acquire(timeout=max(0.0, seconds)):
            raise StoreUnavailableError("another thread opens the file")
        try:
            if not self._is_prepared:
                sqlite_file.create_private(self._path)
            return self._opened(seconds)
        finally:
            self._preparing.release()

    def _opened(self, seconds: float) -> sqlite3.Connection:
        # Two processes that turn a new file to WAL at once: SQLite tells one of them that it is
        # busy at once, whatever the time-out.
        last: sqlite3.Error = sqlite3.OperationalError("no time left")
        for left in Backoff().tries(seconds):
            try:
                return self._prepared(sqlite_file.connect(self._path, seconds=left))
            except sqlite3.OperationalError as error:
                last = error
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
        raise StoreUnavailableError("the file cannot be opened") from last

    def _prepared(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        if not self._is_prepared:
            try:
                sqlite_file.bring_forward(connection, self._schema)
            except BaseException:
                connection.close()
                raise
            self._is_prepared = True
        return connection


class _Reader:
    """Reads by one connection, as of one moment."""

    def __init__(self, connection: sqlite3.Connection, schema: Schema, now: int) -> None:
        self._connection = connection
        self._schema = schema
        self._now = now

    def get(self, path: str) -> Document | None:
        """The document, or None."""
        data = _data(self._connection, path, self._now)
        return None if data is None else Document(path=path, data=data)

    def query(self, query: Query) -> list[Document]:
        """The documents found."""
        statement, parameters = select(query, self._schema.index_for(query), now=self._now)
        return [
            Document(path=f"{query.collection}/{name}", data=sqlite_codec.decode(text))
            for name, text in self._connection.execute(statement, parameters)
        ]


def _apply(connection: sqlite3.Connection, write: Write, now: int) -> None:
    match write:
        case Create():
            if not connection.execute(_CREATE, (*_row(write.path, write.data), now)).rowcount:
                raise AlreadyExistsError(write.path)
        case Put():
            connection.execute(_PUT, _row(write.path, write.data))
        case Update():
            found = _data(connection, write.path, now)
            if found is None:
                raise MissingError(write.path)
            connection.execute(_PUT, _row(write.path, {**found, **write.data}))
        case Increment():
            found = _data(connection, write.path, now) or {}
            sums = {name: _sum(found.get(name), amount) for name, amount in write.data.items()}
            connection.execute(_PUT, _row(write.path, {**found, **sums}))
        case Delete():
            connection.execute(_DELETE, split(write.path))


def _data(connection: sqlite3.Connection, path: str, now: int) -> dict[str, Any] | None:
    row = connection.execute(_GET, (*split(path), now)).fetchone()
    return None if row is None else sqlite_codec.decode(row[0])


def _row(path: str, data: Mapping[str, Any]) -> tuple[object, ...]:
    collection, name = split(path)
    expire_at = data.get(EXPIRE_AT)
    return (
        collection,
        name,
        family(collection),
        microseconds(expire_at) if expire_at else None,
        sqlite_codec.places(data),
        sqlite_codec.encode(data),
    )


def _sum(value: object, amount: int) -> int | float:
    """As Firestore adds: what is no number counts as 0, and integers stay at their bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return amount
    if isinstance(value, float):
        return value + amount
    return max(-(2**63), min(2**63 - 1, value + amount))
