"""Numbers a turn's events, shows them at once, and stores them a moment later.

Never more than 256 events are shown and not stored: whoever loses the connection asks again and
misses nothing that was stored, and what a crash can lose has a bound.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from gateway.sessions.events import SessionEvent, encode
from gateway.sessions.live import Feed
from gateway.sessions.log import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Frame

FLUSH_SECONDS = 0.25

Flush = Callable[[list[Frame]], None]


class LogWriter:
    """Of one turn, used by its driver alone. `flush` stores frames under the driver's lease."""

    def __init__(self, *, feed: Feed, flush: Flush, last_id: int) -> None:
        self._feed = feed
        self._flush = flush
        self._next = last_id + 1
        self._stored = last_id
        self._waiting: list[Frame] = []
        self._bytes = 0
        self._since = 0.0
        feed.start(last_id)

    @property
    def last_id(self) -> int:
        """The number given last."""
        return self._next - 1

    def add(self, events: Sequence[SessionEvent], *, timestamp: datetime, now: float) -> None:
        """Number and show events, storing what is due; `now` is a monotonic time in seconds."""
        for event in events:
            frame = Frame(id=self._next, data=encode(event, id=self._next, timestamp=timestamp))
            if (
                len(self._waiting) >= MAX_BATCH_EVENTS
                or self._bytes + len(frame.data) > MAX_BATCH_BYTES
            ):
                self.store()
            self._next += 1
            if not self._waiting:
                self._since = now
            self._waiting.append(frame)
            self._bytes += len(frame.data)
            self._feed.publish([frame], stored=self._stored)

    def due(self, now: float) -> float | None:
        """Seconds until what waits has to be stored; None when nothing waits."""
        if not self._waiting:
            return None
        return max(0.0, self._since + FLUSH_SECONDS - now)

    def store(self) -> None:
        """Store all that waits."""
        if self._waiting:
            self._flush(self._waiting)
            self._stored = self._waiting[-1].id
            self._waiting, self._bytes = [], 0

    def reserve(self, event: SessionEvent, *, timestamp: datetime) -> Frame:
        """Number an event that its caller stores, and shows only then (`show`)."""
        frame = Frame(id=self._next, data=encode(event, id=self._next, timestamp=timestamp))
        self._next += 1
        return frame

    def show(self, frame: Frame) -> None:
        """Show a frame that is stored."""
        self._stored = frame.id
        self._feed.publish([frame], stored=frame.id)
