"""A turn driven from a runner's stream to its end in the store, in this process."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from claude_run.client import Client
from claude_run.errors import CallerError, Code, StoppedError
from claude_run.wire import Changes
from doubles.light_runner import light_run
from doubles.recording_server import Script, recording_server
from gateway.instance import utc_now
from gateway.limit_settings import LimitSettings
from gateway.opening import COLLECTIONS
from gateway.quota import Quota, Wanted
from gateway.sessions import driver, log
from gateway.sessions.driver import Driver, Turn
from gateway.sessions.events import SessionEvent
from gateway.sessions.live import Feeds
from gateway.sessions.log import frames_of
from gateway.sessions.proposing import Proposal, Proposing
from gateway.sessions.record import LEASE, Session, Status, key_of
from gateway.sessions.registry import Registry
from gateway.store import Store, open_store

KEY = key_of("me", "s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a turn is driven."""

    store: Store
    registry: Registry

    def drive(self, script: Script, **options: Any) -> None:  # noqa: ANN401 - the driver's own
        """A first turn, against a runner that behaves as told, to its end."""
        with recording_server(script) as runner, Client(runner.url) as client:
            Driver(
                turn=Turn(claim=self.registry.start(fresh(), Wanted()), prompt="Hi", options={}),
                registry=self.registry,
                store=self.store,
                client=client,
                feeds=Feeds(),
                clock=utc_now,
                **options,
            ).run()

    def logged(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and data of all events that are stored."""
        stored = b"".join(part.data for part in log.read(self.store, KEY, after=0))
        return [_read(frame) for frame in frames_of(stored)]


def _read(frame: bytes) -> tuple[str, dict[str, Any]]:
    name = frame.partition(b"event: ")[2].partition(b"\n")[0].decode()
    data: dict[str, Any] = json.loads(frame.partition(b"data: ")[2])
    del data["timestamp"]
    return name, data


def fresh() -> Session:
    """A session about to begin."""
    now = datetime.now(UTC)
    return Session(
        key=KEY,
        owner="me",
        session_id="s",
        status=Status.PROCESSING,
        turn=1,
        fence=1,
        lease_until=now + LEASE,
        created_at=now,
        last_activity_at=now,
    )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A store of its own for each test."""
    store = open_store(f"sqlite://{tmp_path}/s/g.db", collections=COLLECTIONS)
    registry = Registry(store=store, quota=Quota(LimitSettings()), clock=utc_now)
    yield Place(store=store, registry=registry)
    store.close()


def saying(*words: str) -> Script:
    """A run that says this."""
    return light_run(lambda _prompt: words)


def test_whoever_watches_sees_what_is_logged(place: Place) -> None:
    """Every event, in order, the terminal one with the state behind it."""
    seen: list[SessionEvent] = []
    statuses: list[Status] = []

    def watch(events: Sequence[SessionEvent]) -> None:
        seen.extend(events)
        statuses.append(place.registry.find(KEY).status)

    place.drive(saying("One ", "two."), watch=watch)
    assert [(event.name, event.data) for event in seen] == place.logged()
    assert seen[-1].name == "complete"
    assert statuses[-1] is Status.COMPLETED
    assert set(statuses[:-1]) == {Status.PROCESSING}


PULL = "https://github.com/octo/one/pull/1"
CHANGED = {"base": "a" * 40, "files": [{"path": "x", "deleted": True}]}


def endings(place: Place) -> list[tuple[str, dict[str, Any]]]:
    """The events from the end of what Claude says on."""
    logged = place.logged()
    names = [name for name, _ in logged]
    return logged[names.index("claude_end") :]


def test_a_pull_request_is_opened_before_the_turn_is_over(place: Place) -> None:
    """Of the last change set, with what Claude said; its address is told, and in the end again."""
    asked: list[tuple[Changes | None, str]] = []

    def propose(changes: Changes | None, result: str, proceed: Callable[[], None]) -> Proposal:
        proceed()
        assert not place.registry.find(KEY).over
        asked.append((changes, result))
        return Proposal(message="Open.", url=PULL)

    script = light_run(lambda _prompt: ["Done."], changes=CHANGED)
    place.drive(script, propose=propose)
    assert [changes.files[0].path for changes, _ in asked if changes] == ["x"]
    _, status, complete = endings(place)
    assert status == ("status", {"message": "Open.", "prUrl": PULL})
    assert complete[0] == "complete"
    assert (complete[1]["prUrl"], complete[1]["result"]) == (PULL, asked[0][1])


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (CallerError("GitHub does not permit this.", code=Code.FORBIDDEN), "FORBIDDEN", "permit"),
        (ValueError("planted"), "INTERNAL_ERROR", "Something went wrong"),
    ],
)
def test_a_failed_pull_request_costs_the_turn_nothing(
    place: Place, failure: Exception, code: str, words: str
) -> None:
    """It is told, and the turn has its result."""

    def propose(*_: object) -> Proposal:
        raise failure

    place.drive(saying("Done."), propose=propose)
    _, (name, status), (last, complete) = endings(place)
    assert (name, status["code"], last) == ("status", code, "complete")
    assert words in status["message"]
    assert "planted" not in status["message"]
    assert "prUrl" not in complete
    assert complete["result"]


def test_no_pull_request_of_a_turn_that_failed(place: Place) -> None:
    """There is nothing that somebody should merge."""
    asked: list[object] = []

    def propose(*_: object) -> Proposal:
        asked.append(None)
        return Proposal(message="Open.")

    place.drive(lambda _asked, send: send(b"HTTP/1.1 500 X\r\n\r\n"), propose=propose)
    assert endings(place)[-1][0] == "error"
    assert asked == []


def test_it_is_heard_while_a_pull_request_is_opened(place: Place) -> None:
    """Whoever cancels; and no further request is made then."""
    cancelled: list[str] = []
    over = threading.Event()

    def propose(_changes: Changes | None, _result: str, proceed: Callable[[], None]) -> Proposal:
        place.registry.cancel(KEY)
        while True:
            try:
                proceed()
            except StoppedError as error:
                cancelled.append(error.code)
                over.set()
                raise
            time.sleep(0.01)

    place.drive(saying("Done."), propose=propose)
    (name, error) = endings(place)[-1]
    assert (name, error["code"]) == ("error", "CANCELLED")
    assert over.wait(30)
    assert cancelled == ["CANCELLED"]


def test_the_lease_is_renewed_while_a_pull_request_is_opened(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take longer than a lease."""
    monkeypatch.setattr(driver, "RENEW_SECONDS", 0.05)
    leases: list[datetime] = []

    def propose(*_: object) -> Proposal:
        deadline = time.monotonic() + 30
        while len(set(leases)) < 3 and time.monotonic() < deadline:
            leases.append(place.registry.find(KEY).lease_until)
            time.sleep(0.01)
        return Proposal(message="Open.", url=PULL)

    place.drive(saying("Done."), propose=propose)
    assert len(set(leases)) == 3
    assert endings(place)[-1][1]["prUrl"] == PULL


def test_it_has_a_deadline() -> None:
    """After which no further request is made, and that is what is told."""
    told: queue.Queue[Proposal] = queue.Queue()

    def propose(_changes: Changes | None, _result: str, proceed: Callable[[], None]) -> Proposal:
        while True:
            proceed()
            time.sleep(0.01)

    Proposing(
        propose, changes=None, result="", put=told.put, stopped=lambda: None, seconds=0.05
    ).start(name="pull")
    proposal = told.get(timeout=30)
    assert (proposal.url, proposal.code) == (None, "TIMEOUT")
