"""The contract on SQLite, and what only a file has to stand."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from claude_run.errors import Code, ConfigurationError
from gateway.store import (
    Collection,
    Create,
    Cursor,
    Index,
    Put,
    Query,
    Store,
    StoreUnavailableError,
    Transaction,
    open_store,
    ping,
    sqlite,
    sqlite_file,
    sqlite_pool,
)
from gateway.store.sqlite_query import select
from store_contract import COLLECTIONS, LATER, NOW, Clock, StoreContract, all_at_once

TESTS = Path(__file__).parents[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be, in a folder that is not there yet."""
    return tmp_path / "state" / "gateway?#.db"


@pytest.fixture
def url(path: Path) -> str:
    """The store's URL."""
    return f"sqlite://{path}"


@pytest.fixture(autouse=True)
def _children_find_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def opened(url: str, clock: Clock | None = None) -> Store:
    """A store of the contract's collections."""
    return open_store(url, collections=COLLECTIONS, clock=clock or Clock())


class TestSqlite(StoreContract):
    """The suite that Firestore passes too."""


def test_every_acknowledged_write_survives_a_kill(url: str, path: Path) -> None:
    """A process that writes is killed at any moment, again and again; batches are whole."""
    for round_number in range(6):
        child = subprocess.Popen(
            [sys.executable, "-m", "store_child", "write", url, str(round_number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        stored = [child.stdout.readline().strip()]
        killer = threading.Timer(0.02 + 0.05 * round_number, child.kill)
        killer.start()
        # What is cut off by the kill was not said.
        stored += [line.strip() for line in child.stdout if line.endswith("\n")]
        killer.join()
        child.stdout.close()
        assert child.wait(10) == -signal.SIGKILL
        store = opened(url)
        assert all(store.get(name) and store.get(f"{name}/parts/b") for name in stored)
        store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = "SELECT count(*) FROM documents WHERE collection {} 'parts'"
        (whole,) = connection.execute(rows.format("=")).fetchone()
        assert connection.execute(rows.format("<>")).fetchone() == (whole,)
    connection.close()


def test_a_commit_is_on_the_disk_before_it_is_said(url: str, path: Path) -> None:
    """Write-ahead log, and a sync at every commit: what a power cut leaves is whole."""
    store = opened(url)
    ping(store, seconds=5)
    connection = sqlite_file.connect(path, seconds=1)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert connection.execute("PRAGMA fullfsync").fetchone() == (1,)
    connection.close()
    store.close()


@pytest.fixture
def locked(url: str, path: Path) -> Iterator[Store]:
    """A store whose file another connection is writing to, and does not stop."""
    store = opened(url)
    store.write([Put("parts/a", {"n": 1})])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield store
    other.close()
    store.write([Put("parts/a", {"n": 2})])
    store.close()


def test_a_file_that_somebody_holds(locked: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing is unavailable in time, with Retry-After; reading goes on."""
    monkeypatch.setattr(sqlite, "WRITE_SECONDS", 0.3)
    monkeypatch.setattr(sqlite, "TRANSACT_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        locked.write([Put("parts/a", {})])
    with pytest.raises(StoreUnavailableError):
        locked.transact(lambda transaction: transaction.get("parts/a"))
    assert 0.6 <= time.monotonic() - began < 3
    error = caught.value
    assert (error.code, error.http_status, error.reason) == (Code.UNAVAILABLE, 503, "SQLITE_BUSY")
    assert error.headers == {"Retry-After": "2"}
    found = locked.get("parts/a")
    assert found is not None
    assert found.data == {"n": 1}


def test_a_thread_that_holds_the_lock_too_long(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one does not wait for ever, and the first is not disturbed."""
    store = opened(url)
    is_inside, may_end = threading.Event(), threading.Event()

    def slow(transaction: Transaction) -> None:
        is_inside.set()
        may_end.wait(10)
        transaction.write(Put("parts/a", {}))

    thread = threading.Thread(target=store.transact, args=(slow,))
    thread.start()
    is_inside.wait(10)
    monkeypatch.setattr(sqlite, "WRITE_SECONDS", 0.2)
    with pytest.raises(StoreUnavailableError):
        store.write([Put("parts/b", {})])
    may_end.set()
    thread.join(10)
    assert store.get("parts/a")
    assert not store.get("parts/b")
    store.close()


def test_readers_are_bounded(url: str) -> None:
    """Forty threads read with at most eight connections, and none waits in vain."""
    store = opened(url)
    store.write([Put("parts/a", {"payload": "x" * 500_000})])
    assert all(all_at_once(40, lambda _: store.get("parts/a")))
    connections = store._pool._state.opened  # type: ignore[attr-defined]
    assert 2 <= len(connections) <= sqlite_pool.MAX_READERS + 1
    store.close()
    assert connections == []


def test_a_fork_takes_no_connection_along(url: str, path: Path) -> None:
    """Parent and children go on with the same store at the same time; nothing is damaged."""
    store = opened(url)
    store.write([Put("parts/before", {})])
    assert store.get("parts/before")
    children = []
    for number in range(5):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                assert store._pool._state.opened == []  # type: ignore[attr-defined]
                assert store.get("parts/before")
                for count in range(20):
                    store.write([Create(f"parts/child-{number}-{count}", {})])
                store.close()
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
        store.write([Put("parts/before", {"n": number})])
    statuses = [os.waitpid(pid, 0)[1] for pid in children]
    assert statuses == [0] * 5
    assert len(store.query(Query(collection="parts", limit=1_000))) == 101
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_nothing_is_opened_before_it_is_needed(url: str, path: Path) -> None:
    """`open_store` may run before a fork."""
    store = opened(url)
    assert not path.parent.exists()
    store.close()


def test_only_the_owner_reads_the_file(url: str, path: Path) -> None:
    """Whatever the umask; the files beside it too."""
    before = os.umask(0)
    try:
        store = opened(url)
        store.write([Put("parts/a", {})])
        modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    store.close()


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda path: path.chmod(0o644), "chmod 600"),
        (lambda path: path.parent.chmod(0o777), "chmod 700"),
        (lambda path: path.write_bytes(b"not a database" * 100), "damaged"),
        (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
    ],
)
def test_a_file_that_cannot_be_used(
    url: str, path: Path, spoil: Callable[[Path], object], rule: str
) -> None:
    """The error names the setting and what to do."""
    store = opened(url)
    store.write([Put("parts/a", {})])
    store.close()
    for beside in path.parent.glob("*-*"):
        beside.unlink()
    spoil(path)
    with pytest.raises(ConfigurationError, match=f"STORE_URL.*{rule}"):
        ping(opened(url), seconds=2)


def test_whoever_opens_and_closes_a_file_leaves_it_to_those_who_have_it(
    url: str, path: Path
) -> None:
    """Many threads open it first; nothing that one does ends the locks of another's connection.

    Without them another process that closes the file thinks it is the last: it removes the
    write-ahead log, into which ours goes on writing.
    """
    store = opened(url)
    all_at_once(8, lambda _: ping(store, seconds=30))
    opened(url).close()
    other = opened(url)
    all_at_once(2, lambda _: ping(other, seconds=30))
    closing = f"from store_contract import COLLECTIONS; from gateway.store import *; \
s = open_store({url!r}, collections=COLLECTIONS); ping(s, seconds=30); s.close()"
    subprocess.run([sys.executable, "-c", closing], check=True)
    assert path.with_name(f"{path.name}-wal").exists()
    store.close()
    other.close()


def test_a_folder_that_cannot_be_made() -> None:
    """Said in the words of the system."""
    with pytest.raises(ConfigurationError, match="STORE_URL"):
        ping(opened("sqlite:///dev/null/x.db"), seconds=2)


def test_a_newer_schema_is_not_touched(url: str, path: Path) -> None:
    """A file that a newer claude-run wrote says so, and stays as it is."""
    opened(url).write([Put("parts/a", {})])
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="newer claude-run"):
        opened(url).write([Put("parts/a", {"n": 1})])
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT data FROM documents").fetchall() == [("{}",)]
    connection.close()


def test_another_programs_database_is_not_touched(url: str, path: Path) -> None:
    """It would get a table that is not its own."""
    path.parent.mkdir(mode=0o700)
    os.close(os.open(path, os.O_CREAT, 0o600))
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(ConfigurationError, match="another program"):
        opened(url).write([Put("parts/a", {})])


def test_a_file_that_is_made_meanwhile_is_ours(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another connection commits the schema between our first look and our lock."""
    path.parent.mkdir(mode=0o700)
    os.close(os.open(path, os.O_CREAT, 0o600))
    look, looks = sqlite_file._version, 0

    def version(connection: sqlite3.Connection) -> int:
        nonlocal looks
        looks += 1
        found = look(connection)
        if looks == 1:
            opened(url).write([Put("parts/a", {"n": 1})])
        return found

    monkeypatch.setattr(sqlite_file, "_version", version)
    assert opened(url).get("parts/a")


def test_a_file_is_brought_forward(url: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer version applies what the file has not seen, once, and keeps the documents."""
    opened(url).write([Put("parts/a", {"n": 1})])
    added = (*sqlite_file.MIGRATIONS, "CREATE TABLE later (x); INSERT INTO later VALUES (1);")
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", added)
    for _ in range(2):
        store = opened(url)
        assert store.get("parts/a")
        store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("SELECT x FROM later").fetchall() == [(1,)]
    connection.close()


def test_a_migration_that_fails_changes_nothing(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the schema nor its version."""
    opened(url).write([Put("parts/a", {"n": 1})])
    added = (*sqlite_file.MIGRATIONS, "CREATE TABLE later (x); NONSENSE;")
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", added)
    with pytest.raises(StoreUnavailableError):
        ping(opened(url), seconds=2)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name='later'").fetchall()
    connection.close()


def test_an_index_that_is_declared_later_finds_what_was_there(url: str) -> None:
    """And a process that does not know it keeps it true."""
    old = open_store(url, collections=[Collection(name="things", expires=False)])
    old.write([Put("things/a", {"color": "red"})])
    index = Index(equal=("color",))
    new = open_store(url, collections=[Collection(name="things", expires=False, indexes=(index,))])
    query = Query(collection="things", equal={"color": "red"}, limit=5)
    assert [found.id for found in new.query(query)] == ["a"]
    old.write([Put("things/b", {"color": "red"}), Put("things/a", {"color": "blue"})])
    assert [found.id for found in new.query(query)] == ["b"]
    old.close()
    new.close()


def test_every_query_is_a_look_up(url: str) -> None:
    """SQLite's own plan: no table is read through, nothing is sorted."""
    store = opened(url)
    ping(store, seconds=5)
    plans = []
    for collection in store._schema.collections:  # type: ignore[attr-defined]
        for index in (None, *collection.indexes):
            query = Query(
                collection=collection.name,
                limit=5,
                equal=dict.fromkeys(index.equal, "x") if index else {},
                order=index.order if index else "__name__",
                descending=index.descending if index else False,
                at_least="a",
                below="z",
            )
            for one in (query, replace(query, after=Cursor(id="m", value="m"))):
                statement, parameters = select(one, index, now=0)
                with store._pool.reading(1) as connection:  # type: ignore[attr-defined]
                    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
                    plans += [row[3] for row in rows]
    assert len(plans) == 2 * (len(COLLECTIONS) + 1 + 6)
    assert [plan for plan in plans if not plan.startswith("SEARCH documents USING INDEX")] == []
    # The order's field is entered by both of its bounds, or by the cursor and the upper one.
    assert sum(plan.count(">? AND ") for plan in plans) == len(plans)
    store.close()


def test_what_has_expired_is_deleted_in_passing(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By writes of anything, some at a time; what has not expired stays."""
    monkeypatch.setattr(sqlite, "SWEEP_SECONDS", 0.0)
    clock = Clock()
    store = opened(url, clock)
    store.write([Put(f"leases/{n}", {"expireAt": LATER}) for n in range(120)])
    store.write([Put("leases/live", {"expireAt": LATER + timedelta(days=2)})])
    clock.now = LATER
    left = []
    for _ in range(3):
        store.write([Put("parts/a", {})])
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT count(*) FROM documents WHERE expire_at IS NOT NULL")
            left += [count for (count,) in rows]
        connection.close()
    assert left == [71, 21, 1]
    assert store.get("leases/live")
    store.close()


def test_processes_that_open_a_new_file_at_once(url: str) -> None:
    """All of them get on: one makes the schema, the others find it."""
    children = [
        subprocess.Popen([sys.executable, "-m", "store_child", "count", url, "1"]) for _ in range(6)
    ]
    assert [child.wait(60) for child in children] == [0] * 6


def test_the_text_in_the_file_can_be_read(url: str, path: Path) -> None:
    """JSON, for whoever looks at it with another tool."""
    store = opened(url)
    store.write([Put("parts/a", {"at": NOW, "raw": b"x", "map": {"$time": 1}})])
    with sqlite3.connect(path) as connection:
        ((text,),) = connection.execute("SELECT data FROM documents")
    connection.close()
    assert json.loads(text) == {
        "at": {"$time": "2026-11-22T12:00:00.123456+00:00"},
        "raw": {"$bytes": "eA=="},
        "map": {"$$time": 1},
    }
    store.close()


def test_a_log_of_20000_events_is_read_fast(url: str) -> None:
    """Twice the promised time: the first page within 200 ms, all of it within two seconds."""
    line = '{"event":"claude_delta","data":{"turn":1,"content":"some words of a text"}}\n'
    store = opened(url)
    for number in range(100):
        store.write([Create(f"parts/a/parts/{number * 200:012d}", {"payload": line * 200})])
    began = time.perf_counter()
    query = Query(collection="parts/a/parts", limit=10)
    lines, first = 0, None
    while page := store.query(query):
        first = first or time.perf_counter() - began
        lines += sum(len(found.data["payload"].splitlines()) for found in page)
        query = query.following(page[-1])
    assert lines == 20_000
    assert first is not None
    assert first < 0.2
    assert time.perf_counter() - began < 2
    store.close()
