"""The sessions that this process drives, for readers in the same process.

A reader beside the driver gets an event when it is made, not when it is stored. What a slow reader
has missed here it reads from the store; so nobody waits for it.
"""

import threading
from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile

from gateway.sessions.log import MAX_BATCH_EVENTS, Frame

# More than a driver may be ahead of the store, so that a reader always finds the rest there.
KEPT_FRAMES = 4 * MAX_BATCH_EVENTS
KEPT_BYTES = 4 * 1024 * 1024


@dataclass(slots=True, eq=False)
class Feed:
    """The newest frames of one turn."""

    _changed: threading.Condition = field(default_factory=threading.Condition)
    _frames: deque[Frame] = field(default_factory=deque)
    _bytes: int = 0
    _lost: int = 0  # the highest number that is here no more
    _ended: bool = False
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def start(self, after: int) -> None:
        """Everything up to and with this number was there before."""
        self._lost = after

    def publish(self, frames: list[Frame], *, stored: int) -> None:
        """Add frames; those beyond the bounds go, if they are stored."""
        with self._changed:
            self._frames.extend(frames)
            self._bytes += sum(len(frame.data) for frame in frames)
            while (len(self._frames) > KEPT_FRAMES or self._bytes > KEPT_BYTES) and self._frames[
                0
            ].id <= stored:
                gone = self._frames.popleft()
                self._bytes -= len(gone.data)
                self._lost = gone.id
            self._changed.notify_all()

    def end(self) -> None:
        """The turn is over and its last event stored."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def after(self, number: int, *, seconds: float) -> "list[Frame] | None":
        """The frames above `number`, waited for; None where the store has to be asked.

        An empty list: nothing came in that time, or the turn is over (`ended`).
        """
        with self._changed:
            if number < self._lost:
                return None
            if not self._has(number) and not self._ended:
                self._changed.wait(seconds)
                if number < self._lost:
                    return None
            return self._above(number)

    def _above(self, number: int) -> list[Frame]:
        # From the end: a reader that keeps up wants one of a thousand.
        found = list(takewhile(lambda frame: frame.id > number, reversed(self._frames)))
        found.reverse()
        return found

    def _has(self, number: int) -> bool:
        return bool(self._frames) and self._frames[-1].id > number

    @property
    def ended(self) -> bool:
        """Whether no frame comes any more."""
        with self._changed:
            return self._ended

    def cancel(self) -> None:
        """Ask the driver to stop, without the way through the store."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether somebody in this process has asked to stop."""
        return self._cancelled.is_set()


class Feeds:
    """All feeds of this process, by session key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._feeds: dict[str, Feed] = {}

    def open(self, key: str) -> Feed:
        """A fresh feed for a turn that begins."""
        feed = Feed()
        with self._lock:
            self._feeds[key] = feed
        return feed

    def find(self, key: str) -> Feed | None:
        """The feed of a session that is driven here."""
        with self._lock:
            return self._feeds.get(key)

    def close(self, key: str, feed: Feed) -> None:
        """The turn is over here."""
        feed.end()
        with self._lock:
            if self._feeds.get(key) is feed:
                del self._feeds[key]
