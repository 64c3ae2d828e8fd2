"""Sessions of a gateway, for asyncio: `AsyncClient.interactive`; in all else as `interactive`.

session = await client.interactive.start("Fix the tests", repository="owner/repo")
async for event in session.stream():
    ...
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from claude_run import session_calls as calls
from claude_run.course import Course
from claude_run.errors import ClaudeRunError, UpstreamError
from claude_run.interactive import LOOK_SECONDS, Clock, moment
from claude_run.resumption import Resumption
from claude_run.session_events import SessionEvent
from claude_run.session_status import SessionStatus
from claude_run.sse import ServerSentEvent
from claude_run.transport import AsyncEventStream, AsyncTransport, Call

Pause = Callable[[float], Awaitable[object]]


class AsyncSessionStream(AsyncIterator[SessionEvent]):
    """The events of a session, one after the other, over as many connections as it takes.

    As `SessionStream`. Leaving half way, by `aclose`, an `async with` block or dropping it, closes
    the connection and does not stop the session: `AsyncSession.cancel` does. `aclose` may be
    called from another task.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        course: Course,
        resumption: Resumption,
        *,
        opened: AsyncEventStream | None,
        stale: AsyncEventStream | None,
        clock: Clock,
        pause: Pause,
    ) -> None:
        self._transport = transport
        self._course = course
        self._resumption = resumption
        self._stream = opened
        # Not to be read, only to be closed.
        self._stale = stale
        self._clock = clock
        self._pause = pause
        self._closed = False
        if opened is not None:
            resumption.connected(clock(), turn=course.turn)

    async def __anext__(self) -> SessionEvent:
        try:
            while not (self._closed or self._resumption.over):
                event = await self._step()
                if event is not None:
                    return event
        except BaseException:
            await self.aclose()
            raise
        await self.aclose()
        raise StopAsyncIteration

    async def _step(self) -> SessionEvent | None:
        """One thing that happens: a connection, an event, the end of a connection."""
        try:
            if self._stream is None:
                await self._connect()
                return None
            received = await anext(self._stream, None)
            if received is not None:
                return self._take(received)
            wait = self._resumption.ended(self._clock(), retry_ms=self._stream.retry_ms)
        except ClaudeRunError as error:
            asked = self._stream.retry_ms if self._stream is not None else None
            wait = self._resumption.failed(error, self._clock(), retry_ms=asked)
        await self._release()
        await self._pause(wait)
        return None

    async def _connect(self) -> None:
        if self._stale is not None:
            await self._stale.aclose()
            self._stale = None
        after = self._resumption.position.after
        answer = await self._transport.ask(calls.events(self._course.session_id, after=after))
        if isinstance(answer, AsyncEventStream):
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

    async def _release(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None

    async def aclose(self) -> None:
        """Read no more; the session goes on."""
        self._closed = True
        for stream in (self._stream, self._stale):
            if stream is not None:
                await stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class AsyncSession:
    """A session of the gateway. One reader and one writer at a time."""

    def __init__(
        self,
        transport: AsyncTransport,
        course: Course,
        *,
        clock: Clock = moment,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._transport = transport
        self._course = course
        self._clock = clock
        self._pause = pause
        # The answer to what began the newest turn, until it is read.
        self._opened: AsyncEventStream | None = None

    @property
    def id(self) -> str:
        """The session's id, which `interactive.get` takes."""
        return self._course.session_id

    @property
    def last_event_id(self) -> int:
        """The event that was read last; 0 before the first."""
        return self._course.position.after

    def stream(self, *, after: int | None = None) -> AsyncSessionStream:
        """The events to the end of the newest turn, from where the last `stream` was.

        After `start` that is the first event, after `send` the first of the new turn; for a
        session of `get` all of them. `after`: behind that event instead.
        """
        resumption = self._course.resumption(after)
        opened, self._opened = self._opened, None
        return AsyncSessionStream(
            self._transport,
            self._course,
            resumption,
            opened=opened if after is None else None,
            stale=opened if after is not None else None,
            clock=self._clock,
            pause=self._pause,
        )

    async def send(self, prompt: str, **options: object) -> None:
        """Begin the next turn; `stream` shows it. CONFLICT while one is being processed.

        Options are those of `start`; those not given stay as they were.
        """
        await self._begin(calls.message(self.id, prompt, options), ours=True)

    async def status(self) -> SessionStatus:
        """What the gateway tells of it now."""
        status = calls.read_status(await self._transport.fetch(calls.status(self.id)))
        self._course.seen(status)
        return status

    async def cancel(self) -> None:
        """Stop it, wherever it runs; `stream` then comes to its end. One that is over stays."""
        calls.check_done(await self._transport.fetch(calls.cancel(self.id)))

    async def aclose(self) -> None:
        """Give back the connection of a turn that nobody reads; the session goes on."""
        if self._opened is not None:
            await self._opened.aclose()
            self._opened = None

    async def _begin(self, call: Call, *, ours: bool) -> None:
        """Send what begins a turn, once; where nobody answers, look whether it has begun."""
        await self.aclose()
        sent = self._clock().seconds
        try:
            answer = await self._transport.ask(call)
            if isinstance(answer, AsyncEventStream):
                self._opened = answer
            elif answer.status != 202:
                raise calls.refused(answer)
        except ClaudeRunError as error:
            if not calls.left_open(error):
                raise
            if not await self._has_begun(sent, ours=ours):
                raise calls.unknown(error, self.id) from error
        self._course.began()

    async def _has_begun(self, sent: float, *, ours: bool) -> bool:
        for seconds in LOOK_SECONDS:
            await self._pause(seconds)
            with suppress(UpstreamError):  # The network may still be away.
                answer = await self._transport.fetch(calls.status(self.id))
                elapsed = self._clock().seconds - sent
                if calls.has_begun(answer, turn=self._course.turn + 1, ours=ours, elapsed=elapsed):
                    return True
        return False

    def __repr__(self) -> str:
        return f"AsyncSession({self.id!r})"


class AsyncInteractive:
    """The sessions of a client's caller."""

    def __init__(
        self, transport: AsyncTransport, *, clock: Clock = moment, pause: Pause = asyncio.sleep
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._pause = pause

    async def start(
        self,
        prompt: str,
        *,
        repository: str | Mapping[str, Any] | None = None,
        session_id: str | None = None,
        **options: object,
    ) -> AsyncSession:
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
        await session._begin(call, ours=session_id is None)  # noqa: SLF001 - not for users
        return session

    async def get(self, session_id: str) -> AsyncSession:
        """A session that exists, to read it again from its first event, or to go on with it."""
        session = self._session(calls.checked_id(session_id))
        await session.status()
        return session

    async def list(self, *, limit: int | None = None) -> AsyncIterator[SessionStatus]:
        """The caller's sessions, newest first, at most `limit`; asked for in pages as they come."""
        token: str | None = None
        left = limit
        while left is None or left > 0:
            page = calls.read_page(
                await self._transport.fetch(calls.page(limit=left or calls.MAX_PAGE, token=token))
            )
            for session in page.sessions[:left]:
                yield session
            left = None if left is None else left - len(page.sessions)
            token = calls.following(page, token)
            if token is None:
                return

    def _session(self, session_id: str) -> AsyncSession:
        course = Course(session_id=session_id)
        return AsyncSession(self._transport, course, clock=self._clock, pause=self._pause)
