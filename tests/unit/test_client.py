"""`Client` and `AsyncClient` against a real server on loopback that does as each test says.

Each story that both can live through is told with both; `read` is one of them.
"""

import asyncio
import contextlib
import gc
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from claude_run import AsyncClient, Client
from claude_run.client import AsyncRunStream, RunStream
from claude_run.endpoint import Timeouts
from claude_run.errors import (
    CallerError,
    ClaudeRunError,
    Code,
    ConfigurationError,
    UpstreamError,
)
from claude_run.events import (
    ChangesEvent,
    DoneEvent,
    ErrorEvent,
    MessageEvent,
    RunEvent,
    TranscriptEvent,
    UnknownEvent,
    WarningEvent,
)
from claude_run.sse import encode_comment, encode_event
from claude_run.wire import Resume

SECRET = "sk-ant-planted-0123456789"
SOON = 5.0
QUICK = Timeouts(connect=2.0, read=2.0)
# Longer than any test waits: no time-out closes a connection in place of what is tested.
PATIENT = Timeouts(connect=2.0, read=60.0)


@dataclass
class Exchange:
    """One request as the server got it, and the connection to answer on."""

    connection: socket.socket
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    gone: threading.Event = field(default_factory=threading.Event)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer."""
        self._head(status, {"Content-Length": str(len(body)), **headers})
        self.connection.sendall(body)

    def stream(self, *events: bytes, **headers: str) -> None:
        """The head of an event stream, and its first events."""
        names = {"Content-Type": "text/event-stream; charset=utf-8", "X-Request-Id": "req-1"}
        self._head(
            200, {**names, "X-Session-Id": "ses-1", "Transfer-Encoding": "chunked"} | headers
        )
        for event in (encode_comment("hello"), *events):
            self.send(event)

    def send(self, data: bytes) -> None:
        """A chunk."""
        self.connection.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        """The last chunk."""
        self.connection.sendall(b"0\r\n\r\n")

    def wait_until_gone(self) -> None:
        """Block until the client has closed its end."""
        self.connection.settimeout(SOON)
        assert self.connection.recv(1) == b""
        self.gone.set()

    def _head(self, status: int, headers: dict[str, str]) -> None:
        lines = [
            f"HTTP/1.1 {status} X",
            *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
        ]
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode())


Script = Callable[[Exchange], None]


class Server:
    """Plays one script a request, the last one again and again."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = scripts
        self.exchanges: list[Exchange] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError, TimeoutError):
            connection.settimeout(SOON)
            exchange = _receive(connection)
            self.exchanges.append(exchange)
            try:
                self.scripts[min(len(self.exchanges), len(self.scripts)) - 1](exchange)
            except ConnectionError:
                exchange.gone.set()

    def close(self) -> None:
        """Stop, and see that no thread stays behind."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(2 * SOON)
            assert not thread.is_alive()


def _receive(connection: socket.socket) -> Exchange:
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = connection.recv(65_536)
        if not piece:
            raise ConnectionError
        raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65_536)
    method, path, _ = first.split()
    return Exchange(connection, method, path, headers, body)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers; they are stopped after the test."""
    servers: list[Server] = []

    def start(*scripts: Script) -> Server:
        servers.append(Server(*scripts))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def said(text: str) -> bytes:
    return encode_event(json.dumps({"type": "text", "text": text}), event="message")


DONE = encode_event("[DONE]", event="done")


def until_gone(exchange: Exchange) -> None:
    """A run that goes on until nobody listens any more."""
    exchange.stream(said("one"), said("two"))
    exchange.wait_until_gone()


def whole(exchange: Exchange) -> None:
    """A run with one message."""
    exchange.stream(said("one"), DONE)
    exchange.end()


Read = Callable[..., list[RunEvent]]
Token = str | Callable[[], str] | None


def read_sync(
    url: str, *, token: Token = None, timeouts: Timeouts = QUICK, **options: object
) -> list[RunEvent]:
    with Client(url, token=token, timeouts=timeouts) as client:
        return list(client.run("Hi", **options))


def read_async(
    url: str, *, token: Token = None, timeouts: Timeouts = QUICK, **options: object
) -> list[RunEvent]:
    async def main() -> list[RunEvent]:
        async with AsyncClient(url, token=token, timeouts=timeouts) as client:
            return [event async for event in client.run("Hi", **options)]

    return asyncio.run(main())


both = pytest.mark.parametrize("read", [read_sync, read_async])


def failure(read: Read, url: str, **options: object) -> ClaudeRunError:
    with pytest.raises(ClaudeRunError) as caught:
        read(url, **options)
    assert SECRET not in f"{caught.value!r} {caught.value.details} {caught.value.headers}"
    return caught.value


# --- a run that ends well -----------------------------------------------------------------------


@both
def test_every_kind_of_event_arrives_typed(read: Read, serve: Callable[..., Server]) -> None:
    """In order, `done` last, and what this version does not know is passed through."""
    line = '{"type":"system", "x": "\u2028"}'
    part = {"path": "a.jsonl", "entries": ["{}"], "new": 1}
    changes = {
        "base": None,
        "files": [{"path": "a", "mode": "100644", "content": "YQ==", "new": 1}],
    }

    def script(exchange: Exchange) -> None:
        exchange.stream(
            encode_event(line, event="message"),
            encode_event('{"code": "TOOL", "message": "none"}', event="warning"),
            encode_event(json.dumps(part), event="transcript"),
            encode_event(json.dumps(changes), event="changes"),
            encode_event("anything", event="new"),
            encode_event('{"error": "no", "code": "TIMEOUT", "details": {"a": 1}}', event="error"),
            DONE,
        )
        exchange.end()

    events = read(serve(script).url)
    kinds = [MessageEvent, WarningEvent, TranscriptEvent, ChangesEvent, UnknownEvent, ErrorEvent]
    assert [type(event) for event in events] == [*kinds, DoneEvent]
    message, warning, transcript, change, unknown, error, _ = events
    assert message == MessageEvent(data=json.loads(line), raw=line)
    assert warning == WarningEvent(code="TOOL", message="none")
    assert isinstance(transcript, TranscriptEvent)
    assert transcript.part.entries == ["{}"]
    assert isinstance(change, ChangesEvent)
    assert change.changes.files[0].raw_content == b"a"
    assert unknown == UnknownEvent(name="new", data="anything")
    assert error == ErrorEvent(error="no", code="TIMEOUT", details={"a": 1})


@both
def test_the_request_is_what_the_contract_says(read: Read, serve: Callable[..., Server]) -> None:
    """Method, path, camelCase body; on loopback no identity, and nothing that compresses."""
    server = serve(whole)
    read(server.url, max_turns=2, repository={"name": "o/r"}, anthropic_api_key=SECRET)
    exchange = server.exchanges[0]
    assert (exchange.method, exchange.path) == ("POST", "/run")
    assert json.loads(exchange.body) == {
        "prompt": "Hi",
        "maxTurns": 2,
        "repository": {"name": "o/r"},
        "anthropicApiKey": SECRET,
    }
    assert exchange.headers["content-type"] == "application/json"
    assert exchange.headers["accept"] == "text/event-stream"
    assert exchange.headers["accept-encoding"] == "identity"
    assert exchange.headers["user-agent"].startswith("claude-run/")
    assert "authorization" not in exchange.headers


@both
def test_the_last_events_go_on_with_the_conversation(
    read: Read, serve: Callable[..., Server]
) -> None:
    """What `transcript` and `changes` gave is what `resume` and `changes` take."""
    session = "0b1c2d3e-0000-4000-8000-00000000000a"
    part = {"path": "a.jsonl", "entries": ["{}"]}
    changes = {"base": None, "files": [{"path": "a", "deleted": True}]}

    def script(exchange: Exchange) -> None:
        exchange.stream(
            encode_event(json.dumps(part), event="transcript"),
            encode_event(json.dumps(changes), event="changes"),
            DONE,
        )
        exchange.end()

    server = serve(script)
    transcript, change, _ = read(server.url)
    assert isinstance(transcript, TranscriptEvent)
    assert isinstance(change, ChangesEvent)
    resume = Resume(session_id=session, transcript=[transcript.part])
    read(server.url, resume=resume, changes=change.changes)
    body = json.loads(server.exchanges[1].body)
    assert body["resume"] == {"sessionId": session, "transcript": [part]}
    assert body["changes"] == changes


def test_ids_are_known_at_once(serve: Callable[..., Server]) -> None:
    """Before the first event, from the headers; asyncio has them on entering."""
    server = serve(until_gone)
    with Client(server.url) as client, client.run("Hi") as events:
        assert (events.request_id, events.session_id) == ("req-1", "ses-1")

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            run = client.run("Hi")
            assert (run.request_id, run.session_id) == (None, None)
            async with run:
                assert (run.request_id, run.session_id) == ("req-1", "ses-1")

    asyncio.run(main())


@both
def test_after_done_the_server_may_finish(read: Read, serve: Callable[..., Server]) -> None:
    """A reader to the end leaves the server the time to end the answer itself."""
    finished = threading.Event()

    def script(exchange: Exchange) -> None:
        exchange.stream(DONE)
        exchange.connection.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            assert exchange.connection.recv(1) != b"", "the client left"
        exchange.end()
        finished.set()
        exchange.wait_until_gone()

    server = serve(script)
    assert read(server.url) == [DoneEvent()]
    assert finished.wait(SOON)


def test_a_connection_serves_one_request(serve: Callable[..., Server]) -> None:
    """It is not kept: nobody's next run meets one that the server is closing just then."""

    def script(exchange: Exchange) -> None:
        whole(exchange)
        exchange.wait_until_gone()

    server = serve(script)

    async def main() -> None:
        async with AsyncClient(server.url, timeouts=PATIENT) as client:
            assert len([event async for event in client.run("Hi")]) == 2
            assert await asyncio.to_thread(server.exchanges[1].gone.wait, SOON)

    with Client(server.url, timeouts=PATIENT) as client:
        assert len(list(client.run("Hi"))) == 2
        assert server.exchanges[0].gone.wait(SOON)
    asyncio.run(main())


@both
def test_pings_keep_a_silent_run_alive(read: Read, serve: Callable[..., Server]) -> None:
    """The read time-out is for the connection, not for the model."""

    def script(exchange: Exchange) -> None:
        exchange.stream()
        for _ in range(8):
            time.sleep(0.1)
            exchange.send(encode_comment("ping"))
        exchange.send(DONE)
        exchange.end()

    assert read(serve(script).url, timeouts=Timeouts(read=0.4)) == [DoneEvent()]


# --- a reader who leaves ------------------------------------------------------------------------


def leaves_by_break(client: Client) -> None:
    for _ in client.run("Hi"):
        break


def leaves_unread(client: Client) -> None:
    client.run("Hi")


def leaves_a_with_block(client: Client) -> object:
    with client.run("Hi") as events:
        next(events)
    return events


def leaves_by_an_exception(client: Client) -> None:
    def read() -> None:
        for _ in client.run("Hi"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()


def leaves_a_generator(client: Client) -> None:
    def texts() -> Iterator[Any]:
        yield from client.run("Hi")

    generator = texts()
    next(generator)
    del generator


def leaves_a_cycle(client: Client) -> None:
    events = client.run("Hi")
    next(events)
    cycle: list[Any] = [events]
    cycle.append(cycle)
    del events, cycle
    gc.collect()


def leaves_by_closing_the_client(client: Client) -> None:
    events = client.run("Hi")
    next(events)
    client.close()
    events.close()


@pytest.mark.parametrize(
    "leave",
    [
        leaves_by_break,
        leaves_unread,
        leaves_a_with_block,
        leaves_by_an_exception,
        leaves_a_generator,
        leaves_a_cycle,
        leaves_by_closing_the_client,
    ],
)
def test_a_reader_who_leaves_is_gone_for_the_server(
    leave: Callable[[Client], object], serve: Callable[..., Server]
) -> None:
    """However it happens, the socket is closed at once, and the client is still good."""
    server = serve(until_gone, whole)
    with Client(server.url, timeouts=PATIENT) as client:
        kept = leave(client)
        assert server.exchanges[0].gone.wait(SOON)
        del kept  # What a `with` block closes is closed while somebody still holds it.
        if leave is not leaves_by_closing_the_client:
            assert len(list(client.run("Hi"))) == 2


async def aleaves_by_break(client: AsyncClient) -> None:
    async for _ in client.run("Hi"):
        break


async def aleaves_an_async_with_block(client: AsyncClient) -> object:
    async with client.run("Hi") as events:
        await anext(events)
    return events


async def aleaves_by_an_exception(client: AsyncClient) -> None:
    async def read() -> None:
        async for _ in client.run("Hi"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await read()


async def aleaves_a_generator(client: AsyncClient) -> None:
    async def texts() -> AsyncIterator[RunEvent]:
        async for event in client.run("Hi"):
            yield event

    generator = texts()
    await anext(generator)
    del generator


async def aleaves_by_cancellation(client: AsyncClient) -> None:
    async def read() -> None:
        async for _ in client.run("Hi"):
            pass

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read(), 0.3)


async def aleaves_by_aclose_of_another_task(client: AsyncClient) -> None:
    run = client.run("Hi")

    async def read() -> list[RunEvent]:
        return [event async for event in run]

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.3)
    await run.aclose()
    assert len(await asyncio.wait_for(reading, SOON)) == 2


@pytest.mark.parametrize(
    "leave",
    [
        aleaves_by_break,
        aleaves_an_async_with_block,
        aleaves_by_an_exception,
        aleaves_a_generator,
        aleaves_by_cancellation,
        aleaves_by_aclose_of_another_task,
    ],
)
def test_a_task_that_leaves_is_gone_for_the_server(
    leave: Callable[[AsyncClient], Awaitable[object]], serve: Callable[..., Server]
) -> None:
    """While the event loop goes on: not only because everything ends."""
    server = serve(until_gone)

    async def main() -> None:
        async with AsyncClient(server.url, timeouts=PATIENT) as client:
            kept = await leave(client)
            assert await asyncio.to_thread(server.exchanges[0].gone.wait, SOON)
            del kept

    asyncio.run(main())


def test_an_async_run_that_is_never_read_is_never_sent(serve: Callable[..., Server]) -> None:
    """Nothing to release, nothing started."""
    server = serve(whole)

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            client.run("Hi")

    asyncio.run(main())
    assert server.exchanges == []


def test_close_from_another_thread_ends_a_waiting_reader(serve: Callable[..., Server]) -> None:
    """At once, without an error: a driver may stop a run that is silent."""
    server = serve(until_gone)
    with Client(server.url, timeouts=PATIENT) as client:
        events = client.run("Hi")
        threading.Timer(0.3, events.close).start()
        start = time.monotonic()
        assert len(list(events)) == 2
        assert time.monotonic() - start < 2
        assert server.exchanges[0].gone.wait(SOON)
        assert list(events) == []


def test_a_closed_run_gives_nothing_more(serve: Callable[..., Server]) -> None:
    """Neither what was already received, nor an error; and closing twice is nothing."""
    server = serve(until_gone)
    with Client(server.url) as client:
        events = client.run("Hi")
        next(events)
        events.close()
        events.close()
        assert list(events) == []


# --- a stream that ends badly -------------------------------------------------------------------


def ends_without_done(exchange: Exchange) -> None:
    exchange.stream(said("one"))
    exchange.end()


def ends_within_an_event(exchange: Exchange) -> None:
    exchange.stream(said("one"), said("two")[:-1])
    exchange.end()


def breaks_off(exchange: Exchange) -> None:
    exchange.stream(said("one"))


def is_reset(exchange: Exchange) -> None:
    exchange.stream(said("one"))
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def falls_silent(exchange: Exchange) -> None:
    exchange.stream(said("one"))
    exchange.wait_until_gone()


@both
@pytest.mark.parametrize(
    "script", [ends_without_done, ends_within_an_event, breaks_off, is_reset, falls_silent]
)
def test_a_stream_without_done_is_an_error(
    read: Read, script: Script, serve: Callable[..., Server]
) -> None:
    """INTERRUPTED, with the request's id; never a quiet end, and never asked again."""
    server = serve(script)
    error = failure(read, server.url, timeouts=Timeouts(read=0.5), github_token=None)
    assert isinstance(error, UpstreamError)
    assert (error.code, error.request_id) == (Code.INTERRUPTED, "req-1")
    assert len(server.exchanges) == 1


@both
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("message", "{"),
        ("message", "[]"),
        ("message", "[" * 100_000),
        ("message", '{"a": ' + "9" * 5_000 + "}"),
        ("error", "no"),
        ("warning", "null"),
        ("transcript", '{"path": "../a.jsonl", "entries": []}'),
        ("changes", '{"base": null, "files": [{"path": "../a", "deleted": true}]}'),
    ],
)
def test_nonsense_in_an_event_is_an_error(
    read: Read, name: str, data: str, serve: Callable[..., Server]
) -> None:
    """And the connection goes: nobody reads on behind it."""

    def script(exchange: Exchange) -> None:
        exchange.stream(encode_event(data, event=name))
        exchange.wait_until_gone()

    server = serve(script)
    error = failure(read, server.url)
    assert isinstance(error, UpstreamError)
    assert error.code is Code.UPSTREAM_ERROR
    assert name in error.message
    assert server.exchanges[0].gone.wait(SOON)


# --- again, or not again ------------------------------------------------------------------------


def says_nothing(exchange: Exchange) -> None:
    """Takes the request and hangs up."""


def keeps_quiet(exchange: Exchange) -> None:
    exchange.wait_until_gone()


def answers(status: int, **headers: str) -> Script:
    return lambda exchange: exchange.answer(status, b"<html>", **headers)


@both
@pytest.mark.parametrize("script", [says_nothing, keeps_quiet])
def test_a_request_that_may_have_arrived_is_not_sent_again(
    read: Read, script: Script, serve: Callable[..., Server]
) -> None:
    """A run may have started: the caller is told that nobody knows."""
    server = serve(script, whole)
    error = failure(read, server.url, timeouts=Timeouts(read=0.5), anthropic_api_key=SECRET)
    assert (type(error), error.code) == (UpstreamError, Code.INTERRUPTED)
    assert "may have happened" in error.message
    assert len(server.exchanges) == 1


@both
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (500, {}),
        (502, {}),
        (504, {}),
        (503, {"X_Request_Id": "ours"}),
        (429, {"X_Request_Id": "ours"}),
        (429, {"Retry_After": "3600"}),
    ],
)
def test_an_answer_that_stands_is_not_asked_for_again(
    read: Read, status: int, headers: dict[str, str], serve: Callable[..., Server]
) -> None:
    """Ours by its request id, or one whose wait is nobody's."""
    server = serve(answers(status, **headers), whole)
    error = failure(read, server.url)
    assert (error.status, error.request_id) == (status, headers.get("X_Request_Id"))
    assert error.headers.get("Retry-After") == headers.get("Retry_After")
    assert len(server.exchanges) == 1


@both
def test_the_platforms_refusal_is_tried_again(read: Read, serve: Callable[..., Server]) -> None:
    """Its 429 and 503 carry no request id: our code has not run."""
    turned_away = (answers(503, Retry_After="0"), answers(429, Retry_After="0"))
    server = serve(*turned_away, whole)
    assert len(read(server.url)) == 2
    assert len(server.exchanges) == 3
    assert len({exchange.body for exchange in server.exchanges}) == 1


@both
def test_the_platforms_refusal_is_believed_in_the_end(
    read: Read, serve: Callable[..., Server]
) -> None:
    """Three times and no more."""
    server = serve(answers(503, Retry_After="0"))
    error = failure(read, server.url)
    assert (type(error), error.code, error.status) == (UpstreamError, Code.UNAVAILABLE, 503)
    assert len(server.exchanges) == 3


@both
def test_a_server_that_is_not_there_is_named(read: Read) -> None:
    """After a few tries: UNAVAILABLE, and soon."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        start = time.monotonic()
        error = failure(read, f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert (type(error), error.code) == (UpstreamError, Code.UNAVAILABLE)
    assert 0.5 < time.monotonic() - start < 3


@both
def test_a_server_that_comes_late_is_reached(read: Read, serve: Callable[..., Server]) -> None:
    """Nothing was sent when the connection failed, so it is made again."""
    server = serve(whole)
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        port = late.getsockname()[1]
        timer = threading.Timer(0.15, lambda: _forward(late, server))
        timer.start()
        assert len(read(f"http://127.0.0.1:{port}")) == 2
        timer.join()


def _forward(late: socket.socket, server: Server) -> None:
    """Start listening on a bound socket, and let `server` serve what comes."""
    late.listen()
    connection, _ = late.accept()
    server._serve(connection)


@both
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(read: Read, status: int, serve: Callable[..., Server]) -> None:
    """It would carry token and key to wherever it points."""
    elsewhere = serve(whole)
    server = serve(answers(status, Location=elsewhere.url))
    error = failure(read, server.url, token=SECRET)
    assert (type(error), error.status) == (UpstreamError, status)
    assert elsewhere.exchanges == []


# --- refusals -----------------------------------------------------------------------------------


@both
def test_both_error_envelopes_are_understood(read: Read, serve: Callable[..., Server]) -> None:
    """The runner's and the gateway's, with all they say."""
    runner = {"error": "prompt: must not be blank", "code": "VALIDATION_ERROR"}
    gateway = {"error": "QUOTA_EXCEEDED", "message": "The day is used up", "timestamp": "t"}

    def by_runner(exchange: Exchange) -> None:
        body = json.dumps({**runner, "details": {"field": "prompt"}}).encode()
        exchange.answer(400, body, X_Request_Id="r1")

    def by_gateway(exchange: Exchange) -> None:
        exchange.answer(429, json.dumps(gateway).encode(), X_Request_Id="r2", Retry_After="60")

    server = serve(by_runner, by_gateway)
    first, second = failure(read, server.url), failure(read, server.url)
    assert type(first) is type(second) is CallerError
    assert (first.message, first.code) == (runner["error"], Code.VALIDATION_ERROR)
    assert (first.details, first.status, first.request_id) == ({"field": "prompt"}, 400, "r1")
    assert (second.message, second.code) == (gateway["message"], Code.QUOTA_EXCEEDED)
    assert (second.headers, second.status, second.request_id) == ({"Retry-After": "60"}, 429, "r2")


@both
def test_a_body_that_echoes_is_not_repeated(read: Read, serve: Callable[..., Server]) -> None:
    """A proxy's page may hold all that we sent; of it only the status is told."""

    def script(exchange: Exchange) -> None:
        head = "\n".join(f"{name}: {value}" for name, value in exchange.headers.items())
        exchange.answer(502, head.encode() + exchange.body)

    options = {"anthropic_api_key": SECRET, "token": SECRET}
    error = failure(read, serve(script).url, **options)
    assert (type(error), error.code, error.status) == (UpstreamError, Code.UPSTREAM_ERROR, 502)


@both
def test_a_success_that_is_no_stream_is_an_error(read: Read, serve: Callable[..., Server]) -> None:
    """Somebody else's server, or its login page."""
    error = failure(read, serve(lambda exchange: exchange.answer(200, b"<html>")).url)
    assert (type(error), error.status) == (UpstreamError, 200)


@both
@pytest.mark.parametrize(
    "options",
    [
        {"max_turns": 0},
        {"promt": SECRET},
        {"allowed_tools": "Read"},
        {"anthropic_api_key": SECRET + "\n"},
        {"repository": {"url": "ext::" + SECRET}},
    ],
)
def test_wrong_options_are_refused_before_anything_is_sent(
    read: Read, options: dict[str, object], serve: Callable[..., Server]
) -> None:
    """The server's own rule and words, without the server."""
    server = serve(whole)
    error = failure(read, server.url, **options)
    assert (type(error), error.code) == (CallerError, Code.VALIDATION_ERROR)
    assert (
        str(error.details["field"])
        .replace("_", "")
        .lower()
        .startswith(next(iter(options)).replace("_", ""))
    )
    assert server.exchanges == []


@both
def test_a_request_that_is_too_large_is_refused_here(
    read: Read, serve: Callable[..., Server]
) -> None:
    """31 MiB, as the server has it."""
    server = serve(whole)
    entries = ["x" * 4_000_000] * 9
    resume = {
        "sessionId": "0b1c2d3e-0000-4000-8000-00000000000a",
        "transcript": [{"path": "a.jsonl", "entries": entries}],
    }
    assert failure(read, server.url, resume=resume).code is Code.PAYLOAD_TOO_LARGE
    assert server.exchanges == []


# --- identity, health, words ----------------------------------------------------------------------


@both
def test_an_explicit_token_is_sent(read: Read, serve: Callable[..., Server]) -> None:
    """A string, or what a function returns for each request; loopback or not."""
    server = serve(whole)
    tokens = iter(["first", "second"])
    read(server.url, token="fixed")
    source = lambda: next(tokens)  # noqa: E731 - the caller's function, as short as theirs
    read(server.url, token=source)
    read(server.url, token=source)
    sent = [exchange.headers["authorization"] for exchange in server.exchanges]
    assert sent == ["Bearer fixed", "Bearer first", "Bearer second"]


@both
@pytest.mark.parametrize("token", ["", SECRET + "\n", SECRET + "\r\nX: y", "é" + SECRET, "a b"])
def test_a_token_that_is_no_header_is_refused(
    read: Read, token: str, serve: Callable[..., Server]
) -> None:
    """By us: the HTTP library would quote it in its error."""
    server = serve(whole)
    assert isinstance(failure(read, server.url, token=token), ConfigurationError)
    assert server.exchanges == []


@both
def test_loopback_never_goes_through_a_proxy(
    read: Read, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's proxy is for the outside world."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert len(read(serve(whole).url)) == 2


def health_sync(url: str) -> dict[str, Any]:
    with Client(url, timeouts=QUICK) as client:
        return client.health()


def health_async(url: str) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        async with AsyncClient(url, timeouts=QUICK) as client:
            return await client.health()

    return asyncio.run(main())


@pytest.mark.parametrize("health", [health_sync, health_async])
def test_health_is_what_the_server_says(
    health: Callable[[str], dict[str, Any]], serve: Callable[..., Server]
) -> None:
    """Also "unhealthy", which comes with 503; a page that is not ours is an error."""
    server = serve(
        lambda exchange: exchange.answer(200, b'{"status": "ok"}'),
        lambda exchange: exchange.answer(503, b'{"status": "unhealthy"}', X_Request_Id="r"),
        lambda exchange: exchange.answer(200, b"<html>"),
        lambda exchange: exchange.answer(200, b'{"hello": 1}'),
        lambda exchange: exchange.answer(404, b"{}"),
    )
    assert health(server.url) == {"status": "ok"}
    assert health(server.url + "/") == {"status": "unhealthy"}
    for status in (200, 200, 404):
        with pytest.raises(UpstreamError) as caught:
            health(server.url)
        assert caught.value.status == status
    assert {(e.method, e.path) for e in server.exchanges} == {("GET", "/health")}


def test_a_base_url_may_have_a_path(serve: Callable[..., Server]) -> None:
    """A function's URL ends in its name."""
    server = serve(whole)
    read_sync(server.url + "/api/")
    assert server.exchanges[0].path == "/api/run"


def test_nothing_shows_a_secret(serve: Callable[..., Server]) -> None:
    """Printing a client, a run or a call tells where, never what."""
    server = serve(until_gone)
    with Client(server.url, token=SECRET) as client:
        with client.run("Hi", anthropic_api_key=SECRET) as events:
            assert isinstance(events, RunStream)
            shown = f"{client!r} {events!r} {vars(client)} {vars(events)}"
        asynchronous = AsyncClient(server.url, token=SECRET)
        run = asynchronous.run("Hi", anthropic_api_key=SECRET)
        assert isinstance(run, AsyncRunStream)
        shown += f"{asynchronous!r} {run!r} {vars(asynchronous)} {vars(run)}"
    assert SECRET not in shown
    assert repr(client) == f"Client('{server.url}')"
