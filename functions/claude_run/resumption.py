"""Following a session's log over connections that end: what to do next, given what happened.

Pure: it is told of answers, events and failures, and says what to give to the reader and how long
to wait before the log is asked for again, behind the last event that was given. So nothing is
lost, nothing comes twice, and the order is the log's, wherever connections are cut.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from claude_run.errors import ClaudeRunError, Code, UpstreamError
from claude_run.retry import retry_after
from claude_run.session_events import (
    CompleteEvent,
    SessionEvent,
    TurnEvent,
    event_number,
    parse_session_event,
)
from claude_run.sse import ServerSentEvent

# Attempts in a row that brought nothing. With the waits below some 90 s: a server that is deployed
# anew, or a laptop that changes its network, is back by then.
MAX_FRUITLESS_ATTEMPTS = 10
FIRST_WAIT_SECONDS = 0.25
MAX_WAIT_SECONDS = 20.0
# Whoever asks for a longer pause is not waited for. A window of the rate limit is a minute.
MAX_RETRY_AFTER_SECONDS = 120.0
# A connection that has lived so long, with two pings, was a good one, even if nothing was said:
# some network in between cuts what is silent.
HEALTHY_SECONDS = 30.0
# But no event at all for longer than a turn may take (50 minutes) means that none will come.
MAX_SILENCE_SECONDS = 3_600.0

# Of a gateway, or of what stands in front of it, that is not well just now. Asking is free.
_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({Code.UNAVAILABLE, Code.INTERRUPTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When something happened: `seconds` of a clock that never goes back, and `utc`.

    `chance`, in [0, 1), spreads what many clients do after the same event.
    """

    seconds: float
    utc: datetime
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in a log: behind event `after`. `turn` is the next event's, where that is known."""

    after: int = 0
    turn: int | None = 1

    def behind(self, event: SessionEvent) -> "Position":
        """The place behind the next event."""
        turn = self.turn_of(event)
        ends = event.terminal and turn is not None
        return Position(after=event.id, turn=turn + 1 if turn is not None and ends else turn)

    def turn_of(self, event: SessionEvent) -> int | None:
        """The turn of the next event: it names it, or it is that of the events before."""
        if isinstance(event, TurnEvent):
            return event.turn
        return event.turns if isinstance(event, CompleteEvent) else self.turn


class Resumption:
    """One reader's way through a log, from `position` to the end of turn `last`.

    Events of turns before `first` are passed over. `over` is when nothing more is to be asked for.
    """

    def __init__(self, position: Position, *, first: int, last: int) -> None:
        self.position = position
        self.over = position.turn is not None and position.turn > last
        self._first = first
        self._last = last
        self._turn: int | None = None
        self._connected_at: float | None = None
        self._heard_at: float | None = None
        self._progress = False
        self._failures = 0

    def connected(self, now: Moment, *, turn: int | None = None) -> None:
        """A stream begins; `turn` where it is known to begin with that turn."""
        self._connected_at = now.seconds
        if self._heard_at is None:
            self._heard_at = now.seconds
        self._turn = turn

    def take(self, event: ServerSentEvent, now: Moment) -> SessionEvent | None:
        """The event to give to the reader; None for one that it has, or did not ask for."""
        if event_number(event) <= self.position.after:
            return None
        parsed = parse_session_event(event)
        if self._turn is not None:
            self.position, self._turn = replace(self.position, turn=self._turn), None
        turn = self.position.turn_of(parsed)
        self.position = self.position.behind(parsed)
        self._progress, self._heard_at = True, now.seconds
        if parsed.terminal and turn is not None and turn >= self._last:
            self.over = True
        return None if turn is not None and turn < self._first else parsed

    def nothing_left(self) -> None:
        """The server says that the session is over and has no newer event."""
        self.over = True

    def ended(self, now: Moment, *, retry_ms: int | None) -> float:
        """The server ended the stream, as it does when it is long. Seconds until to ask again."""
        if self._progress:
            self._begin_again()
            self._failures = 0
            return _seconds(retry_ms)
        silent = UpstreamError("The stream ended without an event", code=Code.INTERRUPTED)
        return self.failed(silent, now, retry_ms=retry_ms)

    def failed(self, error: ClaudeRunError, now: Moment, *, retry_ms: int | None = None) -> float:
        """Asking failed, or the stream broke. Seconds until to ask again, or raise the error."""
        if not _is_passing(error):
            raise error
        if self._progress or self._lived(now):
            self._failures = 0
        self._begin_again()
        self._failures += 1
        if self._heard_at is None:
            self._heard_at = now.seconds
        silent = now.seconds - self._heard_at
        if self._failures > MAX_FRUITLESS_ATTEMPTS or silent > MAX_SILENCE_SECONDS:
            raise self._given_up(error) from error
        wait = max(_backoff(self._failures, now.chance), _seconds(retry_ms))
        asked = retry_after(error.headers.get("Retry-After", ""), now.utc)
        if asked is not None and asked > MAX_RETRY_AFTER_SECONDS:
            raise error
        return max(wait, asked or 0.0)

    def _lived(self, now: Moment) -> bool:
        at = self._connected_at
        return at is not None and now.seconds - at >= HEALTHY_SECONDS

    def _begin_again(self) -> None:
        self._progress, self._connected_at, self._turn = False, None, None

    def _given_up(self, error: ClaudeRunError) -> UpstreamError:
        return UpstreamError(
            f"The session's events cannot be read any more ({error.message}); "
            "the session itself goes on",
            code=error.code,
            details={"lastEventId": self.position.after},
            status=error.status,
            request_id=error.request_id,
        )


def _is_passing(error: ClaudeRunError) -> bool:
    if error.status is not None:
        return error.status in _PASSING_STATUS
    return isinstance(error, UpstreamError) and error.code in _PASSING_CODES


def _seconds(retry_ms: int | None) -> float:
    return min((retry_ms or 0) / 1000, MAX_WAIT_SECONDS)


def _backoff(failures: int, chance: float) -> float:
    """Twice as long each time, of which the second half is by chance."""
    longest = min(FIRST_WAIT_SECONDS * 2.0 ** (failures - 1), MAX_WAIT_SECONDS)
    return longest * (0.5 + chance / 2)
