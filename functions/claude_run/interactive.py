"""Sessions of a gateway, for threads: `client.interactive`.

    session = client.interactive.start("Fix the tests", repository="owner/repo")
    for event in session.stream():
        ...

What is decided, `resumption` and `session_calls` decide; here are the connections.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from random import SystemRandom
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from claude_run import session_calls as calls
from claude_run.course import Course
from claude_run.errors import ClaudeRunError, UpstreamError
from claude_run.resumption import Moment, Resumption
from claude_run.session_events import SessionEvent
from claude_run.session_status import SessionStatus
from claude_run.sse import ServerSentEvent
from claude_run.transport import Call, EventStream, Transport

# How long after a POST broke it is looked whether it has begun what it asked for, again and again:
# an instance that starts takes some seconds.
LOOK_SECONDS = (0.2, 1.0, 2.0, 4.0)

Clock = Callable[[], Moment]
# Waits until the event is set, or some seconds.
Pause = Callable[[threading.Event, float], object]


def moment() -> Moment:
    """Now."""
    return Moment(
        seconds=time.monotonic(),
        utc=datetime.now(UTC),
        chance=SystemRandom().random(),
    )


def _wait(closing: threading.Event, seconds: float) -> object:
    return closing.wait(seconds)


class SessionStream(Iterator[SessionEvent]):
    """The events of a session, one after the other, over as many connections as it takes.

    It ends behind the terminal event of the newest turn; a `SessionErrorEvent` is an event. What
    is raised is that the log cannot be read: `UpstreamError`, after many attempts. Leaving half
    way, by `close`, a `with` block or dropping it, closes the connection and does not stop the
    session: `Session.cancel` does. `close` may be called from another thread.
    """

    def __init__(
        self,
        transport: Transport,
        course: Course,
        resumption: Resumption,
        *,
        opened: EventStream | None,
        clock: Clock,
        pause: Pause,
    ) -> None:
        self._transport = transport
        self._course = course
        self._resumption = resumption
        self._stream = opened
        self._clock = clock
        self._pause = pause
        self._closing = threading.Event()
        if opened is not None:
            resumption.connected(clock(), turn=course.turn)

    def __next__(self) -> SessionEvent:
        try:
            while not (self._closing.is_set() or self._resumption.over):
                event = self._step()
                if event is not None:
                    return event
        except BaseException:
            self.close()
            raise
        self.close()
        raise StopIteration

    def _step(self) -> SessionEvent | None:
        """One thing that happens: a connection, an event, the end of a connection."""
        try:
            if self._stream is None:
                self._connect()
                return None
            received = next(self._stream, None)
            if received is not None:
                return self._take(received)
            wait = self._resumption.ended(self._clock(), retry_ms=self._stream.retry_ms)
        except ClaudeRunError as error:
            asked = self._stream.retry_ms if self._stream is not None else None
            wait = self._resumption.failed(error, self._clock(), retry_ms=asked)
        self._release()
        self._pause(self._closing, wait)
        return None

    def _connect(self) -> None:
        after = self._resumption.position.after
        answer = self._transport.ask(calls.events(self._course.session_id, after=after))
        if isinstance(answer, EventStream):
            self._stream = answer
            self._resumption.connected(self._clock())
        elif answer.status == 204:
            self._resumption.nothing_left()
        else:
            raise calls.refused(answer)

    def _take(self, received: ServerSentEvent) -> SessionEvent | None:
        event = self._resumption.take(received, self._clock())
        self._course.position = self._resumption.position
        return event

    def _release(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def close(self) -> None:
        """Read no more; the session goes on."""
        self._closing.set()
        if self._stream is not None:
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Session:
    """A session of the gateway. One reader and one writer at a time."""

    def __init__(
        self, transport: Transport, course: Course, *, clock: Clock = moment, pause: Pause = _wait
    ) -> None:
        self._transport = transport
        self._course = course
        self._clock = clock
        self._pause = pause
        # The answer to what began the newest turn, until it is read.
        self._opened: EventStream | None = None

    @property
    def id(self) -> str:
        """The session's id, which `interactive.get` takes."""
        return self._course.session_id

    @property
    def last_event_id(self) -> int:
        """The event that was read last; 0 before the first."""
        return self._course.position.after

    def stream(self, *, after: int | None = None) -> SessionStream:
        """The events to the end of the newest turn, from where the last `stream` was.

        After `start` that is the first event, after `send` the first of the new turn; for a
        session of `get` all of them. `after`: behind that event instead.
        """
        resumption = self._course.resumption(after)
        opened, self._opened = self._opened, None
        if after is not None and opened is not None:
            opened.close()
            opened = None
        return SessionStream(
            self._transport,
            self._course,
            resumption,
            opened=opened,
            clock=self._clock,
            pause=self._pause,
        )

    def send(self, prompt: str, **options: object) -> None:
        """Begin the next turn; `stream` shows it. CONFLICT while one is being processed.

        Options are those of `start`; those not given stay as they were.
        """
        self._begin(calls.message(self.id, prompt, options), ours=True)

    def status(self) -> SessionStatus:
        """What the gateway tells of it now."""
        status = calls.read_status(self._transport.fetch(calls.status(self.id)))
        self._course.seen(status)
        return status

    def cancel(self) -> None:
        """Stop it, wherever it runs; `stream` then comes to its end. One that is over stays."""
        calls.check_done(self._transport.fetch(calls.cancel(self.id)))

    def close(self) -> None:
        """Give back the connection of a turn that nobody reads; the session goes on."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _begin(self, call: Call, *, ours: bool) -> None:
        """Send what begins a turn, once; where nobody answers, look whether it has begun."""
        self.close()
        sent = self._clock().seconds
        try:
            answer = self._transport.ask(call)
            if isinstance(answer, EventStream):
                self._opened = answer
            elif answer.status != 202:
                raise calls.refused(answer)
        except ClaudeRunError as error:
            if not calls.left_open(error):
                raise
            if not self._has_begun(sent, ours=ours):
                raise calls.unknown(error, self.id) from error
        self._course.began()

    def _has_begun(self, sent: float, *, ours: bool) -> bool:
        never = threading.Event()
        for seconds in LOOK_SECONDS:
            self._pause(never, seconds)
            with suppress(UpstreamError):  # The network may still be away.
                answer = self._transport.fetch(calls.status(self.id))
                elapsed = self._clock().seconds - sent
                if calls.has_begun(answer, turn=self._course.turn + 1, ours=ours, elapsed=elapsed):
                    return True
        return False

    def __repr__(self) -> str:
        return f"Session({self.id!r})"


class Interactive:
    """The sessions of a client's caller."""

    def __init__(
        self, transport: Transport, *, clock: Clock = moment, pause: Pause = _wait
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._pause = pause

    def start(
        self,
        prompt: str,
        *,
        repository: str | Mapping[str, Any] | None = None,
        session_id: str | None = None,
        **options: object,
    ) -> Session:
        """Begin a session; when this returns, it has begun.

        `repository`: `owner/name`, a URL, or `{"name" or "url", "branch"}`. Options: `max_turns`,
        `permission_mode`, `model`, `allowed_tools`, `disallowed_tools`, `append_system_prompt`,
        `max_budget_usd`, `timeout_minutes`, `create_pr`, `detach`, and `anthropic_api_key`,
        `anthropic_base_url`, `github_token`. It is never sent twice: where the connection breaks
        before an answer, the session is looked for.
        """
        chosen = session_id or str(uuid4())
        call = calls.start(prompt, session_id=chosen, repository=repository, options=options)
        session = self._session(chosen)
        session._begin(call, ours=session_id is None)  # noqa: SLF001 - not for users
        return session

    def get(self, session_id: str) -> Session:
        """A session that exists, to read it again from its first event, or to go on with it."""
        session = self._session(calls.checked_id(session_id))
        session.status()
        return session

    def list(self, *, limit: int | None = None) -> Iterator[SessionStatus]:
        """The caller's sessions, newest first, at most `limit`; asked for in pages as they come."""
        token: str | None = None
        left = limit
        while left is None or left > 0:
            page = calls.read_page(
                self._transport.fetch(calls.page(limit=left or calls.MAX_PAGE, token=token))
            )
            yield from page.sessions[:left]
            left = None if left is None else left - len(page.sessions)
            token = calls.following(page, token)
            if token is None:
                return

    def _session(self, session_id: str) -> Session:
        course = Course(session_id=session_id)
        return Session(self._transport, course, clock=self._clock, pause=self._pause)
