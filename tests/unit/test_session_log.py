"""Numbered at once, stored a moment later, read by anybody, never more than 256 ahead."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.opening import COLLECTIONS
from gateway.sessions import blobs, log
from gateway.sessions.events import SessionEvent
from gateway.sessions.live import KEPT_FRAMES, Feed
from gateway.sessions.log import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Frame, frames_of
from gateway.sessions.writer import FLUSH_SECONDS, LogWriter
from gateway.store import Store, open_store
from thoroughness import examples

NOW = datetime(2026, 11, 22, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
COLLECTION = "sessions/k/transcript"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store of its own for each test."""
    opened = open_store(f"sqlite://{tmp_path}/s/g.db", collections=COLLECTIONS, clock=lambda: NOW)
    yield opened
    opened.close()


class Flushed:
    """Takes what a writer stores, as the driver does."""

    def __init__(self) -> None:
        self.batches: list[list[Frame]] = []

    def __call__(self, frames: list[Frame]) -> None:
        self.batches.append(list(frames))

    @property
    def last(self) -> int:
        """The highest number stored."""
        return self.batches[-1][-1].id if self.batches else 0


def event(size: int = 1) -> SessionEvent:
    """An event of some size."""
    return SessionEvent("claude_delta", {"turn": 1, "content": "x" * size})


@given(sizes=st.lists(st.integers(1, 60_000), max_size=900))
@settings(max_examples=examples(15))
def test_a_writer_is_never_far_ahead_of_the_store(sizes: list[int]) -> None:
    """Numbers rise by one; batches keep their bounds; what is shown is stored soon."""
    flushed, feed = Flushed(), Feed()
    writer = LogWriter(feed=feed, flush=flushed, last_id=100)
    for size in sizes:
        writer.add([event(size)], timestamp=NOW, now=0.0)
        assert writer.last_id - max(flushed.last, 100) <= MAX_BATCH_EVENTS
    writer.store()
    numbers = [frame.id for batch in flushed.batches for frame in batch]
    assert numbers == list(range(101, 101 + len(sizes)))
    for batch in flushed.batches:
        assert len(batch) <= MAX_BATCH_EVENTS
        assert sum(len(frame.data) for frame in batch) <= MAX_BATCH_BYTES


def test_what_waits_is_due_after_a_moment() -> None:
    """A quarter of a second after the first that waits."""
    writer = LogWriter(feed=Feed(), flush=Flushed(), last_id=0)
    assert writer.due(5.0) is None
    writer.add([event()], timestamp=NOW, now=5.0)
    writer.add([event()], timestamp=NOW, now=5.2)
    assert writer.due(5.0) == FLUSH_SECONDS
    assert writer.due(6.0) == 0
    writer.store()
    assert writer.due(6.0) is None


def test_the_log_is_read_from_anywhere(store: Store) -> None:
    """Whatever number a reader has, it gets exactly those above it, in order."""
    frames = [
        Frame(id=n, data=b"event: e\nid: %d\ndata: {}\n\n" % n) for n in [*range(1, 40), 4135, 4136]
    ]
    for start in range(0, len(frames), 7):
        store.write([log.batch("k", frames[start : start + 7], expire_at=LATER)])
    for after in (0, 1, 6, 7, 8, 38, 39, 1000, 4135, 4136, 9999):
        data = b"".join(part.data for part in log.read(store, "k", after=after))
        found = [log.frame_id(part) for part in frames_of(data)]
        assert found == [frame.id for frame in frames if frame.id > after]
    assert log.last_id(store, "k") == 4136
    assert log.last_id(store, "other") == 0


def test_a_replay_is_fast(store: Store) -> None:
    """20,000 events: the first within twice 100 ms, all within twice a second."""
    frames = [
        Frame(id=n, data=b'event: e\nid: %d\ndata: {"content":"some words"}\n\n' % n)
        for n in range(1, 20_001)
    ]
    for start in range(0, len(frames), MAX_BATCH_EVENTS):
        store.write([log.batch("k", frames[start : start + MAX_BATCH_EVENTS], expire_at=LATER)])
    begin = time.perf_counter()
    parts = log.read(store, "k", after=0)
    next(parts)
    assert time.perf_counter() - begin < 0.2
    assert sum(part.data.count(b"\n\n") for part in parts) == 20_000 - MAX_BATCH_EVENTS
    assert time.perf_counter() - begin < 2


def test_a_feed_shows_what_comes_and_says_where_it_begins() -> None:
    """A reader that is too far behind is sent to the store."""
    feed = Feed()
    feed.start(10)
    feed.publish([Frame(id=11, data=b"x"), Frame(id=12, data=b"y")], stored=10)
    assert [frame.id for frame in feed.after(11, seconds=0) or []] == [12]
    assert feed.after(9, seconds=0) is None
    many = [Frame(id=n, data=b"z") for n in range(13, 13 + KEPT_FRAMES)]
    feed.publish(many, stored=12)
    assert feed.after(11, seconds=0) is None
    assert [frame.id for frame in feed.after(12, seconds=0) or []] == [f.id for f in many]


def test_a_feed_keeps_what_is_not_stored() -> None:
    """Beyond its bounds too: nowhere else could a reader get it."""
    feed = Feed()
    feed.start(0)
    many = [Frame(id=n, data=b"z") for n in range(1, KEPT_FRAMES + 200)]
    feed.publish(many, stored=0)
    assert len(feed.after(0, seconds=0) or []) == len(many)


def test_a_waiting_reader_is_woken() -> None:
    """By a frame and by the end."""
    feed = Feed()
    feed.start(0)
    threading.Timer(0.05, feed.publish, ([Frame(id=1, data=b"x")],), {"stored": 0}).start()
    begin = time.monotonic()
    assert [frame.id for frame in feed.after(0, seconds=10) or []] == [1]
    threading.Timer(0.05, feed.end).start()
    assert feed.after(1, seconds=10) == []
    assert feed.ended
    assert time.monotonic() - begin < 5


@given(value=st.recursive(st.none() | st.integers(-9, 9) | st.text(), st.lists, max_leaves=20))
@settings(max_examples=examples(10))
def test_values_come_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    """In order, whatever they are."""
    folder = tmp_path_factory.mktemp("blobs")
    store = open_store(f"sqlite://{folder}/g.db", collections=COLLECTIONS, clock=lambda: NOW)
    keep(store, "000001-00000001", value)
    keep(store, "000001-00000002", "\ud800 two")
    assert list(blobs.read(store, COLLECTION)) == [value, "\ud800 two"]
    store.close()


def test_a_large_value_is_cut_and_put_together(store: Store) -> None:
    """More than a document holds; one that was not written to its end is not there."""
    large = [str(n * 7919 % 10_007) for n in range(2_000_000)]
    pieces = blobs.pieces(COLLECTION, "000001-00000001", large, expire_at=LATER)
    last = blobs.write_ahead(store, pieces)
    assert len(last) == blobs.PIECES_PER_COMMIT < len(pieces)
    keep(store, "000001-00000002", "whole")
    assert list(blobs.read(store, COLLECTION)) == ["whole"]
    store.write(last)
    assert list(blobs.read(store, COLLECTION, prefix="000001-00000001")) == [large]
    paths = blobs.paths(store, COLLECTION, prefix="000001-00000001")
    assert paths == [piece.path for piece in pieces]


def keep(store: Store, version: str, value: object) -> None:
    """Store a value whole."""
    store.write(blobs.pieces(COLLECTION, version, value, expire_at=LATER))
