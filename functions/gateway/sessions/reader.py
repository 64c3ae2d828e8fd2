"""A stream of a session: a view of its log, from any instance, that ends by itself."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from claude_run.sse import PING
from gateway.sessions import log
from gateway.sessions.live import Feed, Feeds
from gateway.sessions.log import MAX_BATCH_BYTES, Frame
from gateway.sessions.registry import Registry
from gateway.store import Store

# Cloud Run functions cap a streaming answer at 10 MB, Cloud Run a request at 60 minutes. A stream
# ends itself before, at a place from which the client goes on.
# With what is sent beside events, below 8 MB.
MAX_STREAM_BYTES = 7_900_000
MAX_STREAM_SECONDS = 55 * 60.0
PING_SECONDS = 15.0
# How often an instance that does not drive the session looks into the log.
POLL_SECONDS = 0.25
# …and into the record, for its state and its lease.
RECORD_SECONDS = 1.0
# A wait for the driver beside us ends now and then, so that a shutdown is noticed.
FEED_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class LogReader:
    """One reader of one session."""

    key: str
    registry: Registry
    store: Store
    feeds: Feeds
    closing: threading.Event = field(default_factory=threading.Event)
    after: int = 0

    @property
    def session_id(self) -> str:
        """What its owner calls the session."""
        return self.key.partition(".")[2]

    def nothing_left(self) -> bool:
        """Whether the session is over and all its events are older: 204."""
        session = self.registry.find(self.key)
        return session.over and session.last_event_id <= self.after

    def stream(self) -> Iterator[bytes]:
        """Bytes to send, until the newest turn is over or the stream is long enough."""
        deadline = time.monotonic() + MAX_STREAM_SECONDS
        quiet_since = time.monotonic()
        sent = 0
        for data in self._chunks():
            if data:
                if sent and sent + len(data) > MAX_STREAM_BYTES:
                    return
                sent += len(data)
                quiet_since = time.monotonic()
                yield data
            elif time.monotonic() - quiet_since >= PING_SECONDS:
                quiet_since = time.monotonic()
                yield PING
            if sent and time.monotonic() >= deadline:
                return

    def _chunks(self) -> Iterator[bytes]:
        """What comes, empty now and then while nothing does; ends with the newest turn."""
        looked = 0.0
        while True:
            feed = self.feeds.find(self.key)
            if feed is not None:
                yield from self._from_feed(feed)
                # Ended here: the record says whether that was the newest turn.
                looked = 0.0
            yield from self._from_store()
            if time.monotonic() - looked >= RECORD_SECONDS:
                looked = time.monotonic()
                if self.nothing_left():
                    return
            if self.feeds.find(self.key) is None:
                if self.closing.is_set():
                    return  # to be taken up on another instance
                yield b""
                time.sleep(POLL_SECONDS)

    def _from_feed(self, feed: Feed) -> Iterator[bytes]:
        while True:
            frames = feed.after(self.after, seconds=FEED_SECONDS)
            if frames is None:
                before = self.after
                yield from self._from_store()
                if self.after == before:
                    return
                continue
            if frames:
                yield from self._in_pieces(frames)
            elif feed.ended:
                return
            else:
                yield b""

    def _in_pieces(self, frames: Sequence[Frame]) -> Iterator[bytes]:
        # A feed keeps megabytes for those who are slow: all at once, the stream would be too long.
        piece = b""
        for frame in frames:
            if piece and len(piece) + len(frame.data) > MAX_BATCH_BYTES:
                yield piece
                piece = b""
            piece += frame.data
            self.after = frame.id
        yield piece

    def _from_store(self) -> Iterator[bytes]:
        for stored in log.read(self.store, self.key, after=self.after):
            self.after = stored.last
            yield stored.data
