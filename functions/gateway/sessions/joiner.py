"""Joins text that comes within a moment into one event, before it is numbered. Pure.

A model may make thousands of deltas a second, and each event costs room in the log, a number and
a frame for each reader. A turn's first text goes at once: somebody is waiting for it.
"""

from collections.abc import Sequence

from gateway.sessions.bounds import MAX_VALUE_BYTES, size
from gateway.sessions.events import SessionEvent

JOIN_SECONDS = 0.010

_QUOTES = len('""')
# A character in JSON, at the most: two escapes of six bytes.
_MOST = 12


class Joiner:
    """Of one turn. `now` is a monotonic time in seconds."""

    def __init__(self) -> None:
        # When the first text came; None before it.
        self.first_at: float | None = None
        self._turn = 0
        self._pieces: list[str] = []
        self._bytes = 0
        self._since = 0.0

    def push(self, events: Sequence[SessionEvent], now: float) -> list[SessionEvent]:
        """What is to go now, in order; text that is not among it waits."""
        going: list[SessionEvent] = []
        for event in events:
            if event.name != "claude_delta":
                going += self.flush()
                going.append(event)
            elif self.first_at is None:
                self.first_at = now
                going.append(event)
            else:
                going += self._join(event, now)
        return going

    def due(self, now: float) -> float | None:
        """Seconds until what waits has to go (`flush`); None when nothing waits."""
        if not self._pieces:
            return None
        return max(0.0, self._since + JOIN_SECONDS - now)

    def flush_due(self, now: float) -> list[SessionEvent]:
        """What waits, if it is time."""
        return self.flush() if self.due(now) == 0.0 else []

    def flush(self) -> list[SessionEvent]:
        """What waits, as one event."""
        if not self._pieces:
            return []
        content = "".join(self._pieces)
        self._pieces, self._bytes = [], 0
        return [SessionEvent("claude_delta", {"turn": self._turn, "content": content})]

    def _join(self, event: SessionEvent, now: float) -> list[SessionEvent]:
        text: str = event.data["content"]
        more = len(text) * _MOST
        if self._bytes + more + _QUOTES > MAX_VALUE_BYTES:
            # Only now counted exactly, which for every delta would be most of the work here.
            self._bytes = size("".join(self._pieces)) - _QUOTES
            more = size(text) - _QUOTES
        over = self._bytes + more + _QUOTES > MAX_VALUE_BYTES
        gone = self.flush() if over else []
        if not self._pieces:
            self._since, self._turn = now, event.data["turn"]
        self._pieces.append(text)
        self._bytes += more
        return gone
