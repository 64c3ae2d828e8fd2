"""Requests to a server, and its event streams: the only part of the client that touches a network.

Two classes of each kind, for threads and for asyncio; what they decide they ask `retry`, `answers`
and `sse`, which are shared. A connection serves one request: a kept one that the server closes
just then would fail a request that may not be repeated, and a handshake is nothing beside a run.
"""

import asyncio
import re
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from socket import SHUT_RDWR
from types import TracebackType
from typing import Self

import httpx2

from claude_run import __version__, answers, retry, tracing
from claude_run.endpoint import Endpoint, Timeouts
from claude_run.errors import Code, UpstreamError
from claude_run.sse import Decoder, ServerSentEvent
from claude_run.tokens import TokenSource, authorization

# For one client; whoever needs more at once waits `Timeouts.pool` and is told.
MAX_CONNECTIONS = 100
# Of an answer that is no stream, whether it was asked for or is an error.
MAX_OBJECT_BYTES = 1024 * 1024
# How long `close` waits for a reader in another thread to notice.
# What the system says behind it is enough.
_ERRNO = re.compile(r"^\[Errno -?[0-9]+\] ")
_CLOSE_SECONDS = 2.0

_LIMITS = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request: `path` below the base URL, `body` JSON that may hold secrets."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def _request(
    endpoint: Endpoint, timeouts: Timeouts, call: Call, token: str | None
) -> httpx2.Request:
    headers = {
        "User-Agent": f"claude-run/{__version__}",
        # A compressing proxy would hold events back until its buffer is full.
        "Accept-Encoding": "identity",
        **call.headers,
    }
    if call.body is not None:
        headers["Content-Type"] = "application/json"
    if (parent := tracing.traceparent()) is not None:
        headers["traceparent"] = parent
    if token is not None:
        headers |= authorization(token)
    limits = httpx2.Timeout(
        connect=timeouts.connect, read=timeouts.read, write=timeouts.write, pool=timeouts.pool
    )
    return httpx2.Request(
        call.method,
        endpoint.base_url + call.path,
        headers=headers,
        content=call.body,
        extensions={"timeout": limits.as_dict()},
    )


def _broken(error: Exception, request_id: str | None = None) -> UpstreamError:
    """A connection that failed once the request may have arrived: nobody knows how far it came."""
    return UpstreamError(
        f"The connection broke before the end ({type(error).__name__}); "
        "what was asked for may have happened",
        code=Code.INTERRUPTED,
        request_id=request_id,
    )


def _after_failure(error: httpx2.RequestError, attempt: int) -> float:
    """Seconds to wait before the next attempt, or raise what the failure means."""
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        wait = retry.wait_to_reconnect(attempt)
        if wait is not None:
            return wait
        reason = _ERRNO.sub("", str(error)) or type(error).__name__
        raise UpstreamError(
            f"The server cannot be reached: {reason}", code=Code.UNAVAILABLE
        ) from error
    if isinstance(error, httpx2.PoolTimeout):
        raise UpstreamError(
            f"This client already has {MAX_CONNECTIONS} requests under way", code=Code.UNAVAILABLE
        ) from error
    raise _broken(error) from error


def _after_answer(response: httpx2.Response, attempt: int) -> float | None:
    return retry.wait_after_answer(
        response.status_code, response.headers, attempt, datetime.now(UTC)
    )


def _lower(headers: httpx2.Headers) -> dict[str, str]:
    return dict(headers.items())


class EventStream(Iterator[ServerSentEvent]):
    """The events of one answer, and its connection.

    Ends with the answer. The connection is given back at the end, by `close`, by leaving a `with`
    block, and when the stream is dropped; the server sees that at once. `close` may be called
    from another thread: a reader that waits then comes to the end.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self.headers: Mapping[str, str] = _lower(response.headers)
        self._response = response
        self._chunks = response.iter_bytes()
        self._decoder = Decoder()
        self._ready: deque[ServerSentEvent] = deque()
        self._reading = threading.Lock()
        self._closed = False
        # For a stream that is dropped before anything was read; later the generator does it.
        self._dropped = weakref.finalize(self, response.close)

    @property
    def last_event_id(self) -> str:
        """What to ask for when coming back: the id of the last event that was complete."""
        return self._decoder.last_event_id

    @property
    def retry_ms(self) -> int | None:
        """How long the server asks to wait before coming back, in milliseconds."""
        return self._decoder.retry

    def __next__(self) -> ServerSentEvent:
        while not self._ready:
            chunk = self._read()
            if chunk is None:
                raise StopIteration
            self._ready.extend(self._decoder.feed(chunk))
        return self._ready.popleft()

    def read(self) -> bytes | None:
        """Bytes as they come, None at the end: for whoever passes the stream on, undecoded."""
        return self._read()

    def finish(self) -> None:
        """Let the server close the connection, which it does after its last event; then close."""
        with suppress(UpstreamError):  # All that was promised has come.
            self._read()
        self.close()

    def _read(self) -> bytes | None:
        with self._reading:
            if self._closed:
                return None
            try:
                return next(self._chunks, None)
            except (httpx2.RequestError, httpx2.StreamError) as error:
                if self._closed:
                    return None
                raise _broken(error, self.headers.get("x-request-id")) from error

    def close(self) -> None:
        """End the stream; again is nothing."""
        if self._closed:
            return
        self._closed = True
        _shut_down(self._response)
        if self._reading.acquire(timeout=_CLOSE_SECONDS):
            try:
                self._dropped()
            finally:
                self._reading.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _shut_down(response: httpx2.Response) -> None:
    """Wake whoever reads from the connection: closing a socket alone does not."""
    network = response.extensions.get("network_stream")
    sock = network.get_extra_info("socket") if network is not None else None
    if sock is not None and not response.is_closed:
        with suppress(OSError):  # The other side was faster.
            sock.shutdown(SHUT_RDWR)


class Transport:
    """Requests to one server, for threads."""

    def __init__(self, endpoint: Endpoint, tokens: TokenSource | None, timeouts: Timeouts) -> None:
        self._endpoint = endpoint
        self._tokens = tokens
        self._timeouts = timeouts
        # A proxy of the environment is for the outside world; redirects are not followed, as
        # they would carry the token to wherever they point.
        self._http = httpx2.Client(limits=_LIMITS, trust_env=not endpoint.loopback)

    def open(self, call: Call) -> EventStream:
        """Ask for an event stream; whatever else is answered is raised."""
        answer = self.ask(call)
        if isinstance(answer, Answer):
            raise answers.no_stream(answer.status, answer.headers, answer.body)
        return answer

    def ask(self, call: Call) -> EventStream | Answer:
        """Ask for an event stream; whatever else is answered, of any status, comes whole."""
        response = self._send(call)
        if answers.is_stream(response.status_code, response.headers):
            return EventStream(response)
        return _whole(response)

    def fetch(self, call: Call) -> Answer:
        """Ask for a whole answer, of any status."""
        return _whole(self._send(call))

    def _send(self, call: Call) -> httpx2.Response:
        for attempt in range(retry.MAX_ATTEMPTS):
            token = self._tokens() if self._tokens else None
            request = _request(self._endpoint, self._timeouts, call, token)
            try:
                response = self._http.send(request, stream=True)
            except httpx2.RequestError as error:
                wait: float | None = _after_failure(error, attempt)
            else:
                wait = _after_answer(response, attempt)
                if wait is None:
                    return response
                response.close()
            time.sleep(wait or 0.0)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close all that is open; streams under way end."""
        self._http.close()


def _whole(response: httpx2.Response) -> Answer:
    """An answer with its body; what a broken connection leaves of that is its end."""
    body = bytearray()
    try:
        with suppress(httpx2.RequestError):
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) >= MAX_OBJECT_BYTES:
                    break
    finally:
        response.close()
    return _answer(response, body)


def _answer(response: httpx2.Response, body: bytearray) -> Answer:
    return Answer(
        status=response.status_code,
        headers=_lower(response.headers),
        body=bytes(body[:MAX_OBJECT_BYTES]),
    )


class AsyncEventStream(AsyncIterator[ServerSentEvent]):
    """`EventStream` for asyncio. Dropped, it is closed by the event loop, a moment later."""

    def __init__(self, response: httpx2.Response) -> None:
        self.headers: Mapping[str, str] = _lower(response.headers)
        self._response = response
        # An async generator is what asyncio closes when it is dropped; its end is the response's.
        self._chunks = response.aiter_bytes()
        self._decoder = Decoder()
        self._ready: deque[ServerSentEvent] = deque()
        self._closed = False

    @property
    def last_event_id(self) -> str:
        """What to ask for when coming back: the id of the last event that was complete."""
        return self._decoder.last_event_id

    @property
    def retry_ms(self) -> int | None:
        """How long the server asks to wait before coming back, in milliseconds."""
        return self._decoder.retry

    async def __anext__(self) -> ServerSentEvent:
        while not self._ready:
            chunk = await self._read()
            if chunk is None:
                raise StopAsyncIteration
            self._ready.extend(self._decoder.feed(chunk))
        return self._ready.popleft()

    async def finish(self) -> None:
        """Let the server close the connection, which it does after its last event; then close."""
        with suppress(UpstreamError):  # All that was promised has come.
            await self._read()
        await self.aclose()

    async def _read(self) -> bytes | None:
        if self._closed:
            return None
        try:
            return await anext(self._chunks, None)
        except (httpx2.RequestError, httpx2.StreamError) as error:
            if self._closed:
                return None
            raise _broken(error, self.headers.get("x-request-id")) from error

    async def aclose(self) -> None:
        """End the stream, also under another task that reads; again is nothing."""
        self._closed = True
        await self._response.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class AsyncTransport:
    """`Transport` for asyncio."""

    def __init__(self, endpoint: Endpoint, tokens: TokenSource | None, timeouts: Timeouts) -> None:
        self._endpoint = endpoint
        self._tokens = tokens
        self._timeouts = timeouts
        self._http = httpx2.AsyncClient(limits=_LIMITS, trust_env=not endpoint.loopback)

    async def open(self, call: Call) -> AsyncEventStream:
        """Ask for an event stream; whatever else is answered is raised."""
        answer = await self.ask(call)
        if isinstance(answer, Answer):
            raise answers.no_stream(answer.status, answer.headers, answer.body)
        return answer

    async def ask(self, call: Call) -> AsyncEventStream | Answer:
        """Ask for an event stream; whatever else is answered, of any status, comes whole."""
        response = await self._send(call)
        if answers.is_stream(response.status_code, response.headers):
            return AsyncEventStream(response)
        return await _awhole(response)

    async def fetch(self, call: Call) -> Answer:
        """Ask for a whole answer, of any status."""
        return await _awhole(await self._send(call))

    async def _send(self, call: Call) -> httpx2.Response:
        for attempt in range(retry.MAX_ATTEMPTS):
            # Fetching a token blocks, for a second or more.
            token = await asyncio.to_thread(self._tokens) if self._tokens else None
            request = _request(self._endpoint, self._timeouts, call, token)
            try:
                response = await self._http.send(request, stream=True)
            except httpx2.RequestError as error:
                wait: float | None = _after_failure(error, attempt)
            else:
                wait = _after_answer(response, attempt)
                if wait is None:
                    return response
                await response.aclose()
            await asyncio.sleep(wait or 0.0)
        raise AssertionError("the last attempt returns or raises")

    async def aclose(self) -> None:
        """Close all that is open; streams under way end."""
        await self._http.aclose()


async def _awhole(response: httpx2.Response) -> Answer:
    body = bytearray()
    try:
        with suppress(httpx2.RequestError):
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) >= MAX_OBJECT_BYTES:
                    break
    finally:
        await response.aclose()
    return _answer(response, body)
