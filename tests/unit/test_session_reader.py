"""A stream of a session: it ends by itself where its turn does not, and is never long silent."""

import threading
import time
from collections.abc import Iterator

import pytest

from claude_run.sse import PING
from gateway.limit_settings import LimitSettings
from gateway.quota import Quota, Wanted
from gateway.sessions import reader
from gateway.sessions.live import Feed, Feeds
from gateway.sessions.log import Frame
from gateway.sessions.reader import LogReader
from gateway.sessions.record import LEASE, Session, Status, key_of
from gateway.sessions.registry import Registry
from gateway.store import Store
from work_items import Clock

# By then a stream that does not end itself is ended by the test.
TOO_LATE = 5.0
FRAME = b"event: status\nid: %d\ndata: {}\n\n"


@pytest.fixture
def driven(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogReader]:
    """A reader beside a driver that says nothing, of a turn that goes on."""
    monkeypatch.setattr(reader, "FEED_SECONDS", 0.02)
    key, now = key_of("me", "s"), clock.now
    registry = Registry(store=store, quota=Quota(LimitSettings()), clock=clock)
    session = Session(
        key=key,
        owner="me",
        session_id="s",
        status=Status.PROCESSING,
        turn=1,
        fence=1,
        lease_until=now + LEASE,
        created_at=now,
        last_activity_at=now,
    )
    registry.start(session, Wanted())
    feeds, closing = Feeds(), threading.Event()
    feed = feeds.open(key)
    feed.start(0)

    def give_up() -> None:
        closing.set()
        feeds.close(key, feed)

    late = threading.Timer(TOO_LATE, give_up)
    late.start()
    yield LogReader(key=key, registry=registry, store=store, feeds=feeds, closing=closing)
    late.cancel()
    late.join()


def feed_of(driven: LogReader) -> Feed:
    """Where the driver publishes."""
    feed = driven.feeds.find(driven.key)
    assert feed is not None
    return feed


def test_a_stream_that_lasts_too_long_ends_behind_an_event(
    driven: LogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is up at once here: it waits for one event, and then ends, though no turn does."""
    assert reader.MAX_STREAM_SECONDS == 55 * 60
    monkeypatch.setattr(reader, "MAX_STREAM_SECONDS", 0.0)
    frames = [Frame(id=number, data=FRAME % number) for number in (1, 2)]
    feed = feed_of(driven)
    for number, frame in enumerate(frames, start=1):
        threading.Timer(0.3 * number, feed.publish, ([frame],), {"stored": 0}).start()
    begin = time.monotonic()
    assert list(driven.stream()) == [frames[0].data]
    assert driven.after == 1
    assert time.monotonic() - begin < TOO_LATE / 2


def test_silence_is_broken_by_comments(driven: LogReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies end what is silent; a comment every 15 s is no event."""
    assert reader.PING_SECONDS == 15
    monkeypatch.setattr(reader, "PING_SECONDS", 0.1)
    begin = time.monotonic()
    stream = driven.stream()
    assert [next(stream), next(stream)] == [PING, PING]
    assert 0.2 <= time.monotonic() - begin < TOO_LATE / 2
    feed_of(driven).publish([Frame(id=1, data=FRAME % 1)], stored=0)
    assert FRAME % 1 in (next(stream), next(stream))
