"""A turn driven from a runner's stream to its end in the store, in this process."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from claude_run.client import Client
from doubles.light_runner import light_run
from doubles.recording_server import Script, recording_server
from gateway.instance import utc_now
from gateway.limit_settings import LimitSettings
from gateway.opening import COLLECTIONS
from gateway.quota import Quota, Wanted
from gateway.sessions import log
from gateway.sessions.driver import Driver, Turn
from gateway.sessions.events import SessionEvent
from gateway.sessions.live import Feeds
from gateway.sessions.log import frames_of
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
