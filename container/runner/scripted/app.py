"""The scripted model's HTTP side: routes, refusals, and the playing of a stream."""

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from claude_run.errors import CallerError
from runner.scripted import messages
from runner.scripted.choice import Choice, choose
from runner.scripted.conversation import Conversation, read_conversation
from runner.scripted.messages import Answer, Event
from runner.scripted.record import Record, Strikes
from runner.scripted.scenario import (
    Cut,
    ErrorEvent,
    Fault,
    Garbage,
    HttpError,
    Library,
    Silence,
)

# As the Messages API: https://docs.anthropic.com/en/api/errors#request-size-limits
MAX_REQUEST = 32 * 1024 * 1024
# Claude Code drops what it has not read yet when the connection breaks under it; a cut in the
# middle of a stream shall be seen there.
CUT_SECONDS = 0.1
# Events without a delay between them go out in writes of this many.
BATCH = 64
PING_SECONDS = 1.0

Handler = Callable[[Request], Awaitable[Response]]


class ApiError(Exception):
    """A refusal: HTTP status, and the message in Anthropic's error object."""

    def __init__(
        self, status: int, message: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.message = messages.error_message(status) if message is None else message
        self.headers = headers or {}
        super().__init__(self.message)


class Play(Response):
    """A stream of events, with their delays, that ends when the client goes away."""

    def __init__(
        self, events: Iterator[Event], fault: Fault | None, media_type: str = "text/event-stream"
    ) -> None:
        headers = {"cache-control": "no-cache", "request-id": _request_id()}
        super().__init__(headers=headers, media_type=media_type)
        del self.headers["content-length"]
        self._events = events
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Play until the end, the fault, or the client's disconnect, whichever is first."""
        del scope
        playing = asyncio.ensure_future(self._play(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({playing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                playing.result()
        finally:
            for task in (playing, gone):
                task.cancel()
            await asyncio.gather(playing, gone, return_exceptions=True)

    async def _play(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with contextlib.aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                # Sending waits only for a slow reader; the other streams want their turn too.
                await asyncio.sleep(0)
        # A response that its application leaves incomplete makes the server close the connection.
        if not isinstance(self._fault, Cut):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        fault = self._fault
        if fault is None:
            async for chunk in _written(self._events):
                yield chunk
            return
        async for chunk in _written(itertools.islice(self._events, fault.after_events)):
            yield chunk
        match fault:
            case ErrorEvent():
                yield messages.error_event(fault.error, fault.message)
            case Garbage():
                yield fault.text.encode("utf-8", "replace")
            case Silence():
                async for chunk in _silence(fault):
                    yield chunk
                async for chunk in _written(self._events):
                    yield chunk
            case Cut():
                await asyncio.sleep(CUT_SECONDS)


async def _written(events: Iterator[Event]) -> AsyncGenerator[bytes, None]:
    waiting: list[bytes] = []
    for event in events:
        if event.delay:
            if waiting:
                yield b"".join(waiting)
                waiting.clear()
            await asyncio.sleep(event.delay)
        waiting.append(event.data)
        if len(waiting) >= BATCH:
            yield b"".join(waiting)
            waiting.clear()
    if waiting:
        yield b"".join(waiting)


async def _silence(fault: Silence) -> AsyncGenerator[bytes, None]:
    if not fault.pings:
        await asyncio.sleep(fault.seconds)
        return
    for _ in range(int(fault.seconds / PING_SECONDS)):
        await asyncio.sleep(PING_SECONDS)
        yield messages.PING
    await asyncio.sleep(fault.seconds % PING_SECONDS)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _request_id() -> str:
    return f"req_{secrets.token_hex(12)}"


class ScriptedModel:
    """The routes, the record of requests, and the faults that strike a number of times."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._record = Record()
        self._strikes = Strikes()

    def routes(self) -> list[Route]:
        """What is answered; all else is Anthropic's 404."""
        return [
            Route("/v1/messages", self._recorded(self._create), methods=["POST"]),
            Route("/v1/messages/count_tokens", self._recorded(self._count), methods=["POST"]),
            Route("/v1/models", self._recorded(self._models), methods=["GET"]),
            Route("/", self._recorded(self._hello), methods=["GET"]),
            Route("/api/hello", self._recorded(self._hello), methods=["GET"]),
            Route("/requests", self._requests, methods=["GET", "DELETE"]),
        ]

    async def refused(self, request: Request, error: Exception) -> Response:
        """Record what no route took, and answer it."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        body = b""
        with contextlib.suppress(ApiError):
            body = await _body(request)
        self._keep(request, body)
        return _refusal(ApiError(status))

    def _recorded(self, handle: Callable[[Request, bytes], Awaitable[Response]]) -> Handler:
        async def handler(request: Request) -> Response:
            try:
                body = await _body(request)
                self._keep(request, body)
                return await handle(request, body)
            except CallerError as error:
                return _refusal(ApiError(400, error.message))
            except ApiError as error:
                return _refusal(error)

        return handler

    def _keep(self, request: Request, body: bytes) -> None:
        query = request.scope["query_string"]
        target = request.scope["raw_path"] + (b"?" + query if query else b"")
        self._record.add(request.method, target, request.headers.raw, body)

    async def _create(self, request: Request, body: bytes) -> Response:
        _check_headers(request)
        fields = _json_object(body)
        if type(fields.get("max_tokens")) is not int:
            raise ApiError(400, "max_tokens: Field required")
        conversation = read_conversation(fields)
        choice = choose(conversation, self._library)
        self._maybe_refuse(choice)
        answer = Answer(
            id=f"msg_{secrets.token_hex(12)}",
            model=conversation.model,
            turn=choice.turn,
            values=choice.values,
            prompt_tokens=_tokens(body),
        )
        fault = self._fault(choice)
        return await _respond(conversation, answer, fault)

    def _maybe_refuse(self, choice: Choice) -> None:
        error = choice.turn.error
        if error is not None and self._strikes.take(f"{choice.key} error", error.times):
            raise _http_error(error)

    def _fault(self, choice: Choice) -> Fault | None:
        fault = choice.turn.fault
        if fault is not None and self._strikes.take(f"{choice.key} fault", fault.times):
            return fault
        return None

    async def _count(self, request: Request, body: bytes) -> Response:
        _check_headers(request)
        read_conversation(_json_object(body))
        return _answer({"input_tokens": _tokens(body)})

    async def _models(self, _request: Request, _body: bytes) -> Response:
        return _answer({"data": [], "has_more": False, "first_id": None, "last_id": None})

    async def _hello(self, _request: Request, _body: bytes) -> Response:
        return _answer({"message": "hello"})

    async def _requests(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._record.clear()
            return Response(status_code=204)
        return Response(self._record.to_json(), media_type="application/json")


def create_app(library: Library) -> Starlette:
    """The ASGI application; `library` holds the scenarios that a prompt may name."""
    model = ScriptedModel(library)
    app = Starlette(routes=model.routes(), exception_handlers={HTTPException: model.refused})
    app.router.redirect_slashes = False
    return app


async def _respond(conversation: Conversation, answer: Answer, fault: Fault | None) -> Response:
    if conversation.stream:
        return Play(messages.events(answer), fault)
    match fault:
        case ErrorEvent():
            raise ApiError(529 if fault.error == "overloaded_error" else 500, fault.message)
        case Garbage():
            return Response(fault.text, media_type="application/json")
        case Cut():
            half = messages.whole(answer)
            half = half[: len(half) // 2]
            return Play(iter([Event(half)]), Cut(type="cut", after_events=1), "application/json")
        case Silence():
            await asyncio.sleep(fault.seconds)
    return Response(
        messages.whole(answer),
        media_type="application/json",
        headers={"request-id": _request_id()},
    )


async def _body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_REQUEST:
            raise ApiError(413)
        chunks.append(chunk)
    return b"".join(chunks)


def _check_headers(request: Request) -> None:
    if not (request.headers.get("x-api-key") or request.headers.get("authorization")):
        raise ApiError(401, "x-api-key header is required")
    if not request.headers.get("anthropic-version"):
        raise ApiError(400, "anthropic-version: header is required")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "The request body is not valid JSON") from None
    if not isinstance(fields, dict):
        raise ApiError(400, "Input should be a valid dictionary")
    return fields


def _tokens(body: bytes) -> int:
    return max(1, len(body) // 4)


def _http_error(error: HttpError) -> ApiError:
    headers = {} if error.retry_after is None else {"retry-after": f"{error.retry_after:g}"}
    return ApiError(error.status, error.message, headers=headers)


def _refusal(error: ApiError) -> Response:
    request_id = _request_id()
    return Response(
        messages.error_body(messages.error_type(error.status), error.message, request_id),
        status_code=error.status,
        media_type="application/json",
        headers={**error.headers, "request-id": request_id},
    )


def _answer(value: Mapping[str, Any]) -> Response:
    return JSONResponse(value, headers={"request-id": _request_id()})
