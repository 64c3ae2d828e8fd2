"""The broker's HTTP side: an ASGI application on a loopback port of its own.

It is bare ASGI, because it has to see the request target as it was sent and to pass bytes on
without looking at them twice.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx2
from starlette.types import Message, Receive, Scope, Send

from runner.broker.grants import Grant, Grants
from runner.broker.meter import UsageReader
from runner.broker.rules import (
    backward_headers,
    onward_headers,
    onward_url,
    permitted,
    run_token,
)
from runner.cancellation import to_the_end

# Anthropic's own limit for a request (32 MB).
MAX_REQUEST_BYTES = 32 * 1024 * 1024
# Between two bytes of an answer; Anthropic sends pings while a model thinks.
READ_SECONDS = 300.0
CONNECT_SECONDS = 10.0
WRITE_SECONDS = 60.0
MAX_CONNECTIONS = 512


def upstream_client() -> httpx2.AsyncClient:
    """The one client of the broker. It follows no redirect: those could carry the key away."""
    return httpx2.AsyncClient(
        follow_redirects=False,
        timeout=httpx2.Timeout(
            connect=CONNECT_SECONDS, read=READ_SECONDS, write=WRITE_SECONDS, pool=CONNECT_SECONDS
        ),
        limits=httpx2.Limits(
            max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS
        ),
    )


class Broker:
    """The ASGI application."""

    def __init__(self, *, grants: Grants, client: httpx2.AsyncClient) -> None:
        self._grants = grants
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of an agent."""
        if scope["type"] != "http":
            return
        token = run_token(scope["headers"])
        grant = self._grants.find(token) if token else None
        if grant is None:
            await _refuse(send, 401, "authentication_error", "no run has this token")
        elif not permitted(scope["method"], scope["raw_path"], scope["query_string"]):
            await _refuse(send, 404, "not_found_error", "the broker serves the Messages API only")
        elif (length := _content_length(scope)) is None:
            await _refuse(send, 411, "invalid_request_error", "Content-Length is required")
        elif length > MAX_REQUEST_BYTES:
            await _refuse(send, 413, "request_too_large", "the request is too large")
        elif reason := grant.refusal():
            await _refuse(send, 403, "permission_error", reason)
        else:
            await self._forward(grant, scope, receive, send)

    async def _forward(self, grant: Grant, scope: Scope, receive: Receive, send: Send) -> None:
        """One exchange, ended early when the agent hangs up or its run is over."""
        body, answer = _Body(grant, receive), _Answer(send)
        exchange = asyncio.create_task(self._exchange(grant, scope, body, answer))
        leaving = asyncio.create_task(body.abandoned())
        grant.under_way.add(exchange)
        try:
            await asyncio.wait({exchange, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            grant.under_way.discard(exchange)
            for task in (exchange, leaving):
                task.cancel()
            await to_the_end(asyncio.wait({exchange, leaving}))
        failure = _failure(exchange)
        # Begun and not ended, the connection is closed: the agent sees that the answer broke off.
        if failure is not None and not answer.begun:
            await _refuse(answer, *failure)

    async def _exchange(self, grant: Grant, scope: Scope, body: "_Body", answer: "_Answer") -> None:
        url = onward_url(grant.upstream, scope["raw_path"], scope["query_string"])
        headers = [
            *onward_headers(scope["headers"]),
            *grant.credential.headers(),
            (b"accept-encoding", b"identity"),  # the meter reads what passes
        ]
        async with self._client.stream(
            "POST", url, headers=headers, content=body.chunks()
        ) as response:
            if response.is_redirect:
                await _refuse(answer, 502, "api_error", "the upstream answered with a redirect")
                return
            await answer(
                {
                    "type": "http.response.start",
                    "status": response.status_code,
                    "headers": backward_headers(response.headers.raw, status=response.status_code),
                }
            )
            reader = UsageReader()
            try:
                async for chunk in response.aiter_raw():
                    grant.bytes_moved += len(chunk)
                    reader.feed(chunk)
                    await answer(_body_message(chunk, more=True))
            finally:
                reader.finish(grant.meter)
        await answer(_body_message(b"", more=False))


class _Body:
    """What the agent sends: the request's body, and after it that it has gone away."""

    def __init__(self, grant: Grant, receive: Receive) -> None:
        self._grant = grant
        self._receive = receive
        self._read = asyncio.Event()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, counted."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise httpx2.WriteError("the agent went away")
            chunk: bytes = message.get("body", b"")
            self._grant.bytes_moved += len(chunk)
            more = message.get("more_body", False)
            if chunk:
                yield chunk
        self._read.set()

    async def abandoned(self) -> None:
        """Return when the agent has hung up; not before its whole body was read."""
        await self._read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _Answer:
    """The way back to the agent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        """Send a message of ASGI."""
        self.begun = True
        await self._send(message)


def _failure(exchange: "asyncio.Task[None]") -> tuple[int, str, str] | None:
    """What to tell the agent of an exchange that did not end well; what nobody expects, raises."""
    if exchange.cancelled():
        return 403, "permission_error", "the run is over"
    match exchange.exception():
        case httpx2.TimeoutException():
            return 504, "api_error", "the upstream did not answer in time"
        case httpx2.TransportError():
            return 502, "api_error", "the upstream cannot be reached"
    exchange.result()
    return None


def _content_length(scope: Scope) -> int | None:
    """The length of the body; None where it is not stated, or could be understood otherwise."""
    if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
        return None
    values = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(values[0]) if len(values) == 1 and values[0].isdigit() else None


def _body_message(chunk: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": more}


async def _refuse(send: Send, status: int, kind: str, reason: str) -> None:
    """Answer in Anthropic's own form, which Claude Code shows to its user."""
    body = {"type": "error", "error": {"type": kind, "message": f"claude-run: {reason}"}}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"application/json"), (b"x-should-retry", b"false")],
        }
    )
    await send(_body_message(json.dumps(body).encode(), more=False))
