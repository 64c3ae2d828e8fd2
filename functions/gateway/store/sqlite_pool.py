"""Connections to one SQLite file: some for reading, one for writing, none across a fork."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from claude_run.errors import ConfigurationError
from gateway.forks import forget_after_fork, keep_for_ever
from gateway.store.errors import StoreUnavailableError, StoreUsageError
from gateway.store.groups import Groups, Job

T = TypeVar("T")

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

    def __init__(self, do: Callable[[Sequence[Job[Any]]], None]) -> None:
        self.readers = threading.BoundedSemaphore(MAX_READERS)
        self.opened: list[sqlite3.Connection] = []
        self.idle: list[sqlite3.Connection] = []
        self.writer: sqlite3.Connection | None = None
        # Threads of one process queue here; SQLite's own way of waiting is to poll.
        self.groups = Groups(do)
        self.writing = threading.Lock()
        self.holder: int | None = None


class Pool:
    """Connections, opened when they are needed."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._state = _State(self._write_together)
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

    def write(self, work: Callable[[sqlite3.Connection], T], seconds: float) -> T:
        """What the work returns, once what it wrote is committed.

        Nobody else writes beside it. It is committed together with what other threads have to
        write at the same time; what fails leaves no trace and the others alone.
        """
        if self._state.holder == threading.get_ident():
            raise StoreUsageError("A transaction writes to the store beside itself.")
        with reported():
            return self._state.groups.run(work, seconds)

    def _write_together(self, group: Sequence[Job[Any]]) -> None:
        state = self._state
        with state.writing:
            state.holder = threading.get_ident()
            try:
                if state.writer is None:
                    state.writer = self._opened(max(job.end for job in group))
                _transaction(state.writer, group)
            except Exception as error:  # noqa: BLE001 - told to each of those who wait
                _fail(group, error)
            except BaseException:
                _fail(group, StoreUnavailableError("the process is ending"))
                raise
            finally:
                state.holder = None

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
        self._state = _State(self._write_together)

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


def _transaction(connection: sqlite3.Connection, group: Sequence[Job[Any]]) -> None:
    group = _begun(connection, group)
    if not group:
        return
    try:
        if len(group) == 1:
            group[0].do(connection)
        else:
            for job in group:
                _do_within(connection, job)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _begun(connection: sqlite3.Connection, group: Sequence[Job[Any]]) -> Sequence[Job[Any]]:
    """Those whose time has not run out while another process was writing."""
    while group:
        end = min(job.end for job in group)
        milliseconds = max(0, round(1000 * (end - time.monotonic())))
        connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
        try:
            # IMMEDIATE: a transaction that begins by reading could not become a writing one later.
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            _fail([job for job in group if job.end <= end], error)
            group = [job for job in group if job.end > end]
        else:
            break
    return group


def _do_within(connection: sqlite3.Connection, job: Job[Any]) -> None:
    connection.execute("SAVEPOINT job")
    try:
        job.do(connection)
    except sqlite3.Error:
        # The file, or the disk: what the others wrote may be gone with it.
        raise
    except Exception as error:  # noqa: BLE001 - told to whoever waits for it
        job.error = error
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _fail(group: Sequence[Job[Any]], error: Exception) -> None:
    for job in group:
        job.error = job.error or error
