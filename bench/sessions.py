"""What the gateway does besides passing on: writes to its store, replays, many sessions at once."""

import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import servers
from doubles.light_runner import light_run
from doubles.recording_server import recording_server
from gateway.opening import COLLECTIONS
from gateway.sessions import events, log
from gateway.sessions.log import MAX_BATCH_EVENTS, Frame
from gateway.sessions.record import RETENTION, Session, Status, key_of
from gateway.store import Put, Transaction, open_store
from programs import descendants
from timing import CLIENT, at_once, memory, session

# No quota is to end what is measured.
SETTINGS: dict[str, Any] = {
    "MAX_CONCURRENT_SESSIONS": "60",
    "MAX_DAILY_TOKENS": "1000000000000",
    "MAX_DAILY_COST_USD": "1000000",
}
# A model's pace, for longer than the beginning and the end of a session take.
STEADY = servers.scenario(servers.say("word " * 400, chunk_size=5, delay_ms=20))
REPLAYED = 20_000
AT_ONCE = 50
_LOOK_SECONDS = 0.001


@dataclass(slots=True)
class Commits:
    """Inside its block, the moments at which a SQLite file was written to.

    `data_version` tells whether another connection has committed. Looked at every millisecond: two
    commits of the gateway, each of which waits for the disk, are further apart than that.
    """

    path: Path
    moments: list[float] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            before = None
            while not self._over.wait(_LOOK_SECONDS):
                now = connection.execute("PRAGMA data_version").fetchone()
                if before is not None and now != before:
                    self.moments.append(time.monotonic())
                before = now

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()


def writes(url: str, folder: Path) -> float:
    """Commits a second while one session streams; the store has to exist."""
    with Commits(folder / "gateway.db") as commits:
        seconds = session(url, STEADY).total
    return len(commits.moments) / seconds


def first_answer(runner: str) -> float:
    """Seconds from the start of an `api` process, its store not made yet, to its first answer."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        with servers.running_gateway(runner, Path(folder), target="api") as api:
            CLIENT.get(f"{api.url}/interactive").raise_for_status()
            return time.monotonic() - begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """How a long log was read: seconds to its first event, events a second."""

    first: float
    rate: float


def replay(runner: str) -> Replay:
    """One log of REPLAYED events, from a gateway that did not write it."""
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder) / "gateway.db")
        with servers.running_gateway(runner, Path(folder), **SETTINGS) as gateway:
            CLIENT.get(f"{gateway.url}/interactive")  # the application comes with a first request
            return min((_replayed(gateway.url) for _ in range(3)), key=lambda found: found.first)


def _fill(path: Path) -> None:
    """A finished session of the local caller."""
    store = open_store(f"sqlite://{path}", collections=COLLECTIONS)
    now = datetime.now(UTC)
    kept = Session(
        key=key_of("local", "long"),
        owner="local",
        session_id="long",
        status=Status.COMPLETED,
        turn=1,
        fence=2,
        lease_until=now - timedelta(hours=1),
        created_at=now,
        last_activity_at=now,
        last_event_id=REPLAYED,
    )
    [delta] = events.claude_delta(1, "Some words of a model, as many as come at once.")
    frames = [
        Frame(id=number, data=events.encode(delta, id=number, timestamp=now))
        for number in range(1, REPLAYED + 1)
    ]

    def work(tx: Transaction) -> None:
        tx.write(Put(kept.path, kept.to_data()))
        for begin in range(0, REPLAYED, MAX_BATCH_EVENTS):
            part = frames[begin : begin + MAX_BATCH_EVENTS]
            tx.write(log.batch(kept.key, part, expire_at=now + RETENTION))

    store.transact(work)
    store.close()


def _replayed(url: str) -> Replay:
    begin = time.monotonic()
    first = 0.0
    body = b""
    with CLIENT.stream("GET", f"{url}/interactive/long/events") as answer:
        for chunk in answer.iter_raw():
            body += chunk
            if b"data: " in chunk and not first:
                first = time.monotonic() - begin
    took = time.monotonic() - begin
    assert body.count(b"\ndata: ") == REPLAYED  # noqa: S101
    return Replay(first=first, rate=REPLAYED / took)


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """AT_ONCE sessions: wall seconds, and megabytes of the gateway's processes at most."""

    seconds: float
    memory: float


def together() -> Together:
    """Light runs of 3 s, all at once; that each is whole is a test's to show."""

    def words(_prompt: str) -> Iterator[str]:
        for _ in range(100):
            time.sleep(0.03)
            yield "word "

    with (
        tempfile.TemporaryDirectory() as folder,
        recording_server(light_run(words)) as runner,
        servers.running_gateway(runner.url, Path(folder), **SETTINGS) as gateway,
    ):
        seconds = at_once(lambda: session(gateway.url, "Say something."), AT_ONCE)
        processes = [gateway.pid, *descendants(gateway.pid)]
        return Together(seconds=seconds, memory=sum(memory(pid, "VmHWM") for pid in processes))
