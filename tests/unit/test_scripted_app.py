"""The scripted model over real HTTP: streams, refusals, faults, and what it records."""

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from runner.scripted.__main__ import configuration
from runner.scripted.app import MAX_REQUEST
from runner.scripted.scenario import Library, parse_library

HEADERS = {"x-api-key": "some-key", "anthropic-version": "2023-06-01"}
DEADLINE = 10.0


class Served:
    """A server in a thread of its own."""

    def __init__(self, server: uvicorn.Server, port: int) -> None:
        self.server = server
        self.port = port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] = HEADERS
    ) -> tuple[int, dict[str, str], bytes]:
        connection = self.connect()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def create(self, prompt: str, **fields: object) -> tuple[int, dict[str, str], bytes]:
        return self.ask("POST", "/v1/messages", request(prompt, **fields))

    def recorded(self) -> list[dict[str, Any]]:
        requests: list[dict[str, Any]] = json.loads(self.ask("GET", "/requests")[2])
        return requests

    def raw(self, text: bytes) -> bytes:
        """Send bytes as they are, and read until the server has no more to say."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def serve(library: Library) -> Iterator[Served]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(configuration(library))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Served(server, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(DEADLINE)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    default = {"turns": [{"blocks": [{"type": "text", "text": "by default"}]}]}
    with serve(parse_library(json.dumps({"default": default}).encode())) as server:
        yield server


@pytest.fixture
def served(server: Served) -> Served:
    """The server, its record empty."""
    server.ask("DELETE", "/requests")
    return server


def request(prompt: str, **fields: object) -> bytes:
    message = {"role": "user", "content": prompt}
    body = {"model": "m", "max_tokens": 8, "messages": [message], "stream": True, **fields}
    return json.dumps(body).encode()


def tag(*turns: dict[str, Any]) -> str:
    return f"<scenario>{json.dumps({'turns': turns})}</scenario>"


def text(**fields: object) -> list[dict[str, object]]:
    return [{"type": "text", "text": "word ", **fields}]


def error(body: bytes) -> dict[str, str]:
    answer = json.loads(body)
    assert answer["type"] == "error"
    assert answer["request_id"].startswith("req_")
    fields: dict[str, str] = answer["error"]
    return fields


def test_a_server_in_our_process_leaves_our_logging_alone(served: Served) -> None:
    """uvicorn's own set-up would take its warnings away from ours, in the whole process."""
    assert served.raw(b"no request\r\n\r\n").startswith(b"HTTP/1.1 400")
    logger = logging.getLogger("uvicorn.error")
    assert logger.isEnabledFor(logging.WARNING)
    assert logger.propagate
    assert logging.getLogger("uvicorn").propagate


def test_twenty_thousand_deltas_take_no_time(served: Served) -> None:
    """All of them arrive, and the model is not what one waits for."""
    prompt = tag({"blocks": text(repeat=20_000)})
    began = time.monotonic()
    status, headers, body = served.create(prompt)
    assert time.monotonic() - began < 3
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["request-id"].startswith("req_")
    assert body.count(b"event: content_block_delta\n") == 20_000
    assert body.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_words_come_as_they_are_made(served: Served) -> None:
    """The first bytes of a slow answer do not wait for the last."""
    connection = served.connect()
    prompt = tag({"blocks": text(repeat=3, delay_ms=300)})
    connection.request("POST", "/v1/messages", request(prompt), HEADERS)
    answer = connection.getresponse()
    began = time.monotonic()
    assert answer.read1(8).startswith(b"event: m")
    assert time.monotonic() - began < 0.25
    answer.read()
    assert time.monotonic() - began > 0.8
    connection.close()


def test_one_object_without_streaming(served: Served) -> None:
    """`stream: false` is answered by a message."""
    status, headers, body = served.create("hello", stream=False)
    message = json.loads(body)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert message["content"] == [{"type": "text", "text": "by default"}]
    assert message["stop_reason"] == "end_turn"


def test_tokens_are_counted(served: Served) -> None:
    """More text has more tokens."""
    short = served.ask("POST", "/v1/messages/count_tokens", request("a"))
    long = served.ask("POST", "/v1/messages/count_tokens", request("a" * 400))
    assert json.loads(long[2])["input_tokens"] - json.loads(short[2])["input_tokens"] == 100


@pytest.mark.parametrize("path", ["/", "/api/hello"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_greeting_is_answered(served: Served, method: str, path: str) -> None:
    """Claude Code warms its connection up with one."""
    assert served.ask(method, path)[0] == 200
    assert [(each["method"], each["path"]) for each in served.recorded()] == [(method, path)]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_errors_are_anthropics(served: Served, status: int, kind: str) -> None:
    """A turn may be refused with each status, its type and message, and `retry-after`."""
    refused = {"error": {"status": status, "message": "because", "retry_after": 2}}
    for stream in (True, False):
        got, headers, body = served.create(tag(refused), stream=stream)
        assert got == status
        assert headers["retry-after"] == "2"
        assert error(body) == {"type": kind, "message": "because"}


def test_an_error_may_pass(served: Served) -> None:
    """After `times` refusals the turn is answered; another conversation has its own count."""
    prompt = tag({"error": {"status": 529, "times": 2}, "blocks": text()})
    other = {"metadata": {"user_id": "other"}}
    assert [served.create(prompt)[0] for _ in range(2)] == [529, 529]
    assert served.create(prompt, **other)[0] == 529
    assert served.create(prompt)[0] == 200


def test_an_error_event_ends_a_stream(served: Served) -> None:
    """In mid-stream it is an event; without a stream it is a status."""
    prompt = tag({"blocks": text(), "fault": {"type": "error_event", "after_events": 4}})
    body = served.create(prompt)[2]
    assert body.count(b"event: content_block_delta\n") == 1
    assert b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"' in body
    assert b"message_stop" not in body
    status, _, body = served.create(prompt, stream=False)
    assert (status, error(body)["type"]) == (529, "overloaded_error")


@pytest.mark.parametrize("stream", [True, False])
def test_a_cut_leaves_the_answer_incomplete(served: Served, stream: bool) -> None:
    """What was sent arrives, and then the connection is gone; with `times`, once only."""
    cut = {"type": "cut", "after_events": 4, "times": 1}
    prompt = f"{stream} {tag({'blocks': text(), 'fault': cut})}"
    with pytest.raises(http.client.IncompleteRead) as broken:
        served.create(prompt, stream=stream)
    assert (b"content_block_delta" if stream else b'"model":"m"') in broken.value.partial
    assert served.create(prompt, stream=stream)[0] == 200


def test_garbage_is_passed_on(served: Served) -> None:
    """Whatever was written in the scenario, after the events that were asked for."""
    fault = {"type": "garbage", "after_events": 1, "text": "\x00nonsense"}
    body = served.create(tag({"blocks": text(), "fault": fault}))[2]
    assert body.startswith(b"event: message_start\n")
    assert body.endswith(b"\n\n\x00nonsense")
    assert served.create(tag({"fault": fault}), stream=False)[2] == b"\x00nonsense"


@pytest.mark.parametrize(("pings", "count"), [(True, 2), (False, 1)])
def test_silence_passes(served: Served, pings: bool, count: int) -> None:
    """Nothing for so long, or pings only; then the answer goes on where it was."""
    fault = {"type": "silence", "after_events": 3, "seconds": 1.1, "pings": pings}
    began = time.monotonic()
    body = served.create(tag({"blocks": text(), "fault": fault}))[2]
    assert time.monotonic() - began > 1.1
    assert body.count(b"event: ping\n") == count
    assert body.endswith(b'{"type":"message_stop"}\n\n')


def test_a_client_that_goes_away_ends_its_answer(served: Served) -> None:
    """An hour of silence is over when nobody listens any more."""
    connection = served.connect()
    fault = {"type": "silence", "after_events": 1, "seconds": 3600}
    connection.request("POST", "/v1/messages", request(tag({"fault": fault})), HEADERS)
    answer = connection.getresponse()
    answer.read1(8)
    assert served.server.server_state.tasks
    answer.close()
    connection.close()
    until = time.monotonic() + DEADLINE
    while served.server.server_state.tasks and time.monotonic() < until:
        time.sleep(0.02)
    assert not served.server.server_state.tasks


def test_what_the_api_refuses_is_refused(served: Served) -> None:
    """No credential, no version, no JSON, no object, no field, a wrong scenario, too much."""
    version = {"anthropic-version": "1"}
    path, body = "/v1/messages", request("x")
    assert served.ask("POST", path, body, version)[0] == 401
    assert served.ask("POST", path, body, {**version, "authorization": "Bearer t"})[0] == 200
    assert served.ask("POST", path, body, {"x-api-key": "k"})[0] == 400
    for wrong in (b"{", b"[]", b"", b"[" * 100_000, b"\xff", request("x", max_tokens=None)):
        status, _, answer = served.ask("POST", path, wrong)
        assert (status, error(answer)["type"]) == (400, "invalid_request_error")
    status, _, answer = served.create(tag({"blocks": text(chunk_size=0)}))
    assert status == 400
    assert error(answer)["message"].startswith("scenario: turns.0.blocks.0.text.chunk_size: ")
    status, _, answer = served.create(tag({"blocks": [{"type": "text", "text": "{{cwd}}"}]}))
    assert (status, "cwd" in error(answer)["message"]) == (400, True)
    assert served.ask("POST", path, b" " * (MAX_REQUEST + 1))[0] == 413


def test_the_record_shows_what_arrived(served: Served) -> None:
    """Method, target as it stood in the request line, all headers and the body; it can be cleared.

    Targets of other forms than a plain path are no crash and no other resource.
    """
    assert served.ask("POST", "/v1/files?x=%2f", b"upload")[0] == 404
    for line in (b"GET //host/v1/messages", b"GET http://host/v1/models", b"CONNECT host:443"):
        assert served.raw(line + b" HTTP/1.1\r\nhost: h\r\n\r\n").startswith(b"HTTP/1.1 404 ")
    assert served.ask("GET", "/v1/messages")[0] == 405
    assert served.ask("POST", "/v1/messages/")[0] == 404
    requests = served.recorded()
    assert [(each["method"], each["path"]) for each in requests] == [
        ("POST", "/v1/files?x=%2f"),
        ("GET", "//host/v1/messages"),
        ("GET", "http://host/v1/models"),
        ("CONNECT", "host:443"),
        ("GET", "/v1/messages"),
        ("POST", "/v1/messages/"),
    ]
    assert requests[0]["body"] == "upload"
    assert requests[0]["headers"]["x-api-key"] == "some-key"
    assert error(served.ask("GET", "/nowhere")[2])["type"] == "not_found_error"
    assert served.ask("DELETE", "/requests")[0] == 204
    assert served.recorded() == []
