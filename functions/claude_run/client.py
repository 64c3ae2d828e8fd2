"""The client of a runner or a gateway, for threads (`Client`) and for asyncio (`AsyncClient`).

    with Client("https://…run.app") as client, client.run("Say hello", max_turns=2) as events:
        for event in events:
            ...

A request that may have reached the server is never sent again; see `retry`.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from claude_run import answers
from claude_run.deliveries import Deliveries
from claude_run.endpoint import Endpoint, Timeouts
from claude_run.errors import CallerError, Code, UpstreamError
from claude_run.events import DoneEvent, RunEvent, parse_event
from claude_run.interactive import Interactive
from claude_run.interactive_async import AsyncInteractive
from claude_run.sse import ServerSentEvent
from claude_run.tokens import TokenSource, token_source
from claude_run.transport import (
    Answer,
    AsyncEventStream,
    AsyncTransport,
    Call,
    EventStream,
    Transport,
)
from claude_run.wire import MAX_BODY_BYTES, RunRequest, build_run_request

_HEALTH = Call(method="GET", path="/health")
_STATUS = Call(method="GET", path="/gh-status")
_CHECKED_STATUS = Call(method="GET", path="/gh-status?check=true")


def run_call(request: RunRequest) -> Call:
    """The call that `POST /run` is, or `CallerError` if the server would refuse its size."""
    body = json.dumps(request.to_json(), separators=(",", ":")).encode()
    if len(body) > MAX_BODY_BYTES:
        raise CallerError(
            f"The request is larger than {MAX_BODY_BYTES} bytes", code=Code.PAYLOAD_TOO_LARGE
        )
    return Call(method="POST", path="/run", headers={"Accept": "text/event-stream"}, body=body)


def _health(answer: Answer) -> dict[str, Any]:
    # An unhealthy gateway answers 503, with the same body.
    if answer.status not in (200, 503):
        raise answers.refusal(answer.status, answer.headers, answer.body)
    value = answers.object_of(answer.status, answer.headers, answer.body)
    if not isinstance(value.get("status"), str):
        raise answers.refusal(answer.status, answer.headers, answer.body)
    return value


def _event(event: ServerSentEvent | None, headers: Mapping[str, str]) -> RunEvent:
    """The typed event; None, a stream that ended without `done`, is an `UpstreamError`."""
    if event is None:
        # INTERRUPTED, as for a session whose driver died: nobody said how it ended.
        raise UpstreamError(
            "The stream ended before the run did",
            code=Code.INTERRUPTED,
            request_id=headers.get("x-request-id"),
        )
    return parse_event(event.event, event.data)


class RunStream(Iterator[RunEvent]):
    """The events of a run, the last of which is `DoneEvent`.

    An `ErrorEvent` is an event; what is raised is `UpstreamError`, where the stream breaks or
    ends without `done`. Leaving a `with` block, `close`, and dropping the object end the run.
    """

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._done = False
        self._closed = False

    @property
    def request_id(self) -> str | None:
        """What the server calls this request in its log."""
        return self._stream.headers.get("x-request-id")

    @property
    def session_id(self) -> str | None:
        """What `resume` takes to go on with the conversation."""
        return self._stream.headers.get("x-session-id")

    def __next__(self) -> RunEvent:
        if self._done:
            self._stream.finish()
            self._closed = True
        if self._closed:
            raise StopIteration
        try:
            received = next(self._stream, None)
            if self._closed:  # by another thread
                raise StopIteration
            event = _event(received, self._stream.headers)
        except BaseException:
            self.close()
            raise
        self._done = isinstance(event, DoneEvent)
        return event

    def read(self) -> bytes | None:
        """Bytes as they come, None at the end: for whoever reads the events out of them itself."""
        return self._stream.read()

    def close(self) -> None:
        """End the run, if it is not over: the server stops it when the connection goes."""
        self._closed = True
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


class Client:
    """Runs prompts on the server at `base_url`, from any number of threads.

    `run` is one prompt, on a runner or a gateway; `interactive` are a gateway's sessions,
    `deliveries` what GitHub has told it, for its operators.

    `token`: an identity token, or a function that returns one. Without it, an https server gets
    Google's for `audience` (default: the base URL), and a loopback server none.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | TokenSource | None = None,
        audience: str | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        endpoint = Endpoint.parse(base_url)
        self._base_url = endpoint.base_url
        self._transport = Transport(
            endpoint, token_source(token, endpoint, audience), timeouts or Timeouts()
        )
        # Sessions, which a gateway has and a runner has not.
        self.interactive = Interactive(self._transport)
        self.deliveries = Deliveries(self._transport)

    def run(self, prompt: str, **options: object) -> RunStream:
        """Start a run. Options are `RunRequest`'s fields, checked before anything is sent.

        Raises `CallerError` for what the caller, `UpstreamError` for what the server did wrong.
        """
        return RunStream(self._transport.open(run_call(build_run_request(prompt, options))))

    def health(self) -> dict[str, Any]:
        """What the server says of itself, `{"status": …}` and more; also where that is bad."""
        return _health(self._transport.fetch(_HEALTH))

    def github_status(self, *, check: bool = False) -> dict[str, Any]:
        """Whether a gateway's App and key are set up; `check` asks GitHub, for operators."""
        answer = self._transport.fetch(_CHECKED_STATUS if check else _STATUS)
        if answer.status != 200:
            raise answers.refusal(answer.status, answer.headers, answer.body)
        return answers.object_of(answer.status, answer.headers, answer.body)

    def close(self) -> None:
        """Close the client; runs under way end."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._base_url!r})"


class AsyncRunStream(AsyncIterator[RunEvent]):
    """`RunStream` for asyncio; the request is sent on entering `async with`, or at the first event.

    `request_id` and `session_id` are None until then.
    """

    def __init__(self, transport: AsyncTransport, call: Call) -> None:
        self._transport = transport
        self._call = call
        self._stream: AsyncEventStream | None = None
        self._done = False
        self._closed = False

    @property
    def request_id(self) -> str | None:
        """What the server calls this request in its log."""
        return self._stream.headers.get("x-request-id") if self._stream else None

    @property
    def session_id(self) -> str | None:
        """What `resume` takes to go on with the conversation."""
        return self._stream.headers.get("x-session-id") if self._stream else None

    async def _open(self) -> AsyncEventStream:
        if self._stream is None:
            self._stream = await self._transport.open(self._call)
        return self._stream

    async def __anext__(self) -> RunEvent:
        if self._done and self._stream is not None:
            await self._stream.finish()
            self._closed = True
        if self._closed:
            raise StopAsyncIteration
        try:
            stream = await self._open()
            received = await anext(stream, None)
            if self._closed:  # by another task
                raise StopAsyncIteration
            event = _event(received, stream.headers)
        except BaseException:
            await self.aclose()
            raise
        self._done = isinstance(event, DoneEvent)
        return event

    async def aclose(self) -> None:
        """End the run, if it is not over: the server stops it when the connection goes."""
        self._closed = True
        if self._stream is not None:
            await self._stream.aclose()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class AsyncClient:
    """`Client` for asyncio."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str | TokenSource | None = None,
        audience: str | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        endpoint = Endpoint.parse(base_url)
        self._base_url = endpoint.base_url
        self._transport = AsyncTransport(
            endpoint, token_source(token, endpoint, audience), timeouts or Timeouts()
        )
        self.interactive = AsyncInteractive(self._transport)

    def run(self, prompt: str, **options: object) -> AsyncRunStream:
        """A run, checked now and started when it is entered or read; see `Client.run`."""
        return AsyncRunStream(self._transport, run_call(build_run_request(prompt, options)))

    async def health(self) -> dict[str, Any]:
        """What the server says of itself, `{"status": …}` and more; also where that is bad."""
        return _health(await self._transport.fetch(_HEALTH))

    async def aclose(self) -> None:
        """Close the client; runs under way end."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncClient({self._base_url!r})"
