"""The SQLite file: who may read it, and its schema, brought forward."""

import errno
import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path

from claude_run.errors import ConfigurationError
from gateway.store.schema import Index, Schema

# Each brings a file from its place in this tuple to the next; none is ever changed.
MIGRATIONS = (
    """
    CREATE TABLE documents (
        collection TEXT NOT NULL,
        id TEXT NOT NULL,
        family TEXT NOT NULL,
        expire_at INTEGER,
        places TEXT NOT NULL,
        data TEXT NOT NULL,
        PRIMARY KEY (collection, id)
    );
    CREATE INDEX documents_by_expiry ON documents (expire_at) WHERE expire_at IS NOT NULL;
    """,
)
BY_ID = "sqlite_autoindex_documents_1"
_PRAGMAS = (
    # Readers and the writer do not wait for one another.
    "PRAGMA journal_mode = WAL",
    # A commit returns once it is on the disk; NORMAL would lose the last ones with the power.
    "PRAGMA synchronous = FULL",
    # On macOS fsync alone leaves it in the drive's cache. Elsewhere this changes nothing.
    "PRAGMA fullfsync = ON",
    # The write-ahead log shrinks to this after a checkpoint.
    "PRAGMA journal_size_limit = 67108864",
)


def create_private(path: Path) -> None:
    """Make sure that the file is there and for its owner only, or raise `ConfigurationError`.

    Not beside a connection of this process: see `_create`.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            _create(path)
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        status, folder = path.stat(), path.parent.stat()
    except OSError as error:
        raise ConfigurationError(
            f"STORE_URL: the file cannot be opened: {error.strerror}.", details={"path": str(path)}
        ) from None
    _check_modes(path, status, folder)


def _create(path: Path) -> None:
    # SQLite would create it with the mode that the umask leaves; the files beside it take theirs
    # from this one.
    #
    # Only where there is none: to close any descriptor of a file ends all locks that this process
    # has on it, those of SQLite's connections too (https://www.sqlite.org/howtocorrupt.html, 2.2).
    # Another process would then think that it is the last, and remove what ours still writes to.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_modes(path: Path, status: os.stat_result, folder: os.stat_result) -> None:
    rules = {
        "it is not a regular file": stat.S_ISREG(status.st_mode),
        "others may read or write it; chmod 600 it": not status.st_mode & 0o077,
        "others may write in its folder; chmod 700 it": not folder.st_mode & 0o022,
    }
    for rule, holds in rules.items():
        if not holds:
            raise ConfigurationError(
                f"STORE_URL: the file cannot be used: {rule}.", details={"path": str(path)}
            )


def connect(path: Path, *, seconds: float) -> sqlite3.Connection:
    """A connection that any one thread at a time may use; transactions are begun by hand."""
    connection = sqlite3.connect(
        path, timeout=seconds, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def bring_forward(connection: sqlite3.Connection, schema: Schema) -> None:
    """Apply the migrations that the file has not seen, and add indexes that are new."""
    wanted = dict(_indexes(schema))
    if _version(connection) == len(MIGRATIONS) and wanted.keys() <= _names(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again: another process may have been here first. And only here, where nobody else
        # commits between the two reads, does a file with names and no version tell anything.
        version = _version(connection)
        if version == 0 and _names(connection):
            raise ConfigurationError("STORE_URL: the file is another program's database.")
        for number in range(version, len(MIGRATIONS)):
            for statement in MIGRATIONS[number].split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        for statement in wanted.values():
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise ConfigurationError(
            f"STORE_URL: the file was written by a newer claude-run (its schema is {version}, "
            f"this one knows {len(MIGRATIONS)}). Use that version, or another file."
        )
    return int(version)


def _names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def _indexes(schema: Schema) -> list[tuple[str, str]]:
    return [
        (name := index_name(collection.name, index), _index(name, collection.name, index))
        for collection in schema.collections
        for index in collection.indexes
    ]


def index_name(family: str, index: Index) -> str:
    """What an index is called in the file."""
    return "-".join(("documents", family, *index.fields))


def place_of(field: str) -> str:
    """The SQL for a document's place by a field; NULL where it has none."""
    return f"json_extract(places, '$.{field}')"


def _index(name: str, family: str, index: Index) -> str:
    # The names have passed `check_field`: letters, digits and underscores.
    terms = ", ".join(("collection", *map(place_of, index.fields), "id"))
    return f"CREATE INDEX IF NOT EXISTS \"{name}\" ON documents ({terms}) WHERE family = '{family}'"
