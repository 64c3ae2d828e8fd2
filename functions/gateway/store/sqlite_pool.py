"""Connections to one SQLite file: some for reading, one for writing, none across a fork."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from claude_run.errors import ConfigurationError
from gateway.forks import forget_after_fork, keep_for_ever
from gateway.store.errors import StoreUnavailableError, StoreUsageError

# A reader needs its connection for milliseconds; more would only hold memory (2 MiB of cache each).
MAX_READERS = 8
# How long closing waits for a transaction that is under way.
CLOSE_SECONDS = 2.0

Connect = Callable[[float], sqlite3.Connection]


@contextmanager
def reported() -> Iterator[None]:
    """SQLite's errors as the store's."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
            raise ConfigurationError(f"STORE_URL: the file is damaged ({name}).") from error
        raise StoreUnavailableError(name) from error


class _State:
    """What belongs to one process."""

    def __init__(self) -> None:
        self.readers = threading.BoundedSemaphore(MAX_READERS)
        self.opened: list[sqlite3.Connection] = []
        self.idle: list[sqlite3.Connection] = []
        self.writer: sqlite3.Connection | None = None
        # Threads of one process queue here, in turn; SQLite's own way of waiting is to poll.
        self.writing = threading.Lock()
        self.holder: int | None = None


class Pool:
    """Connections, opened when they are needed."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._state = _State()
        forget_after_fork(self)

    @contextmanager
    def reading(self, seconds: float) -> Iterator[sqlite3.Connection]:
        """A connection to read from."""
        state = self._state
        end = time.monotonic() + seconds
        if not state.readers.acquire(timeout=max(0.0, seconds)):
            raise StoreUnavailableError("all connections are in use")
        try:
            with reported():
                connection = _taken(state.idle) or self._opened(end)
                try:
                    yield connection
                finally:
                    state.idle.append(connection)
        finally:
            state.readers.release()

    @contextmanager
    def writing(self, seconds: float) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes beside; committed at the end, or rolled back."""
        state = self._state
        if state.holder == threading.get_ident():
            raise StoreUsageError("A transaction writes to the store beside itself.")
        end = time.monotonic() + seconds
        if not state.writing.acquire(timeout=max(0.0, seconds)):
            raise StoreUnavailableError("another thread is writing")
        state.holder = threading.get_ident()
        try:
            with reported():
                if state.writer is None:
                    state.writer = self._opened(end)
                yield from _transaction(state.writer, end)
        finally:
            state.holder = None
            state.writing.release()

    def close(self) -> None:
        """Close what is idle; what is in use is closed by no one, and used again."""
        state = self._state
        with reported():
            while connection := _taken(state.idle):
                self._close(connection)
            if state.writing.acquire(timeout=CLOSE_SECONDS):
                try:
                    if state.writer is not None:
                        self._close(state.writer)
                        state.writer = None
                finally:
                    state.writing.release()

    def forget(self) -> None:
        """In a child after a fork: forget everything, and close nothing.

        Using or closing a connection of the parent's can damage the file
        (https://www.sqlite.org/howtocorrupt.html, 2.6), and its locks may be held by threads that
        do not exist here. So the connections must not even be collected.
        """
        for connection in self._state.opened:
            keep_for_ever(connection)
        self._state = _State()

    def _opened(self, end: float) -> sqlite3.Connection:
        connection = self._connect(max(0.0, end - time.monotonic()))
        self._state.opened.append(connection)
        return connection

    def _close(self, connection: sqlite3.Connection) -> None:
        self._state.opened.remove(connection)
        connection.close()


def _taken(idle: list[sqlite3.Connection]) -> sqlite3.Connection | None:
    try:
        # Atomic; asking first whether there is one would not be.
        return idle.pop()
    except IndexError:
        return None


def _transaction(connection: sqlite3.Connection, end: float) -> Iterator[sqlite3.Connection]:
    milliseconds = max(0, round(1000 * (end - time.monotonic())))
    connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
    # IMMEDIATE: a transaction that begins by reading could not become a writing one later.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
