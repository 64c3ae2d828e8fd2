"""A run that is passed on: whole events wherever its bytes are cut, and what they tell."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from claude_run.errors import Code, StoppedError, UpstreamError
from claude_run.sse import Decoder, encode_event
from gateway import forwarding
from gateway.forwarding import ForwardedRun, Seen, WholeEvents


def message(**value: object) -> bytes:
    """A line of Claude Code's."""
    return encode_event(json.dumps(value), event="message")


RESULT = message(
    type="result", subtype="success", is_error=False, result="hello", total_cost_usd=0.5
)
ANSWER = message(
    type="assistant",
    message={
        "id": "m1",
        "model": "claude-opus-5",
        "content": [{"type": "text", "text": "hello"}],
        "usage": {"input_tokens": 100, "output_tokens": 20},
    },
)
CHANGES = encode_event('{"base":null,"files":[]}', event="changes")
DONE = encode_event(b"[DONE]", event="done")
WHOLE = b": stream open\n\n" + ANSWER + CHANGES + RESULT + DONE


class Upstream:
    """A runner's stream, from memory; what is closed ends."""

    def __init__(self, chunks: list[bytes], *, breaks: bool = False) -> None:
        self.headers = {"x-session-id": "session-1"}
        self.closed = False
        self._chunks = iter(chunks)
        self._breaks = breaks

    def read(self) -> bytes | None:
        """The next chunk."""
        chunk = None if self.closed else next(self._chunks, None)
        if chunk is None and self._breaks and not self.closed:
            raise UpstreamError("The connection broke.", code=Code.INTERRUPTED)
        return chunk

    def close(self) -> None:
        """End it."""
        self.closed = True


def forwarded(
    *chunks: bytes, breaks: bool = False, max_tokens: int | None = None
) -> tuple[ForwardedRun, list[ForwardedRun]]:
    """A run, and how often it was settled."""
    settled: list[ForwardedRun] = []
    upstream: Any = Upstream(list(chunks), breaks=breaks)
    return (
        ForwardedRun(upstream=upstream, max_tokens=max_tokens, settle=settled.append),
        settled,
    )


def last_error(data: bytes) -> dict[str, Any]:
    """The data of the `error` event before `done`."""
    *_, error, done = Decoder().feed(data)
    assert (error.event, done.event, done.data) == ("error", "done", "[DONE]")
    found: dict[str, Any] = json.loads(error.data)
    return found


@pytest.mark.parametrize("cut", range(len(WHOLE) + 1))
def test_events_stay_whole_wherever_they_are_cut(cut: int) -> None:
    """Each piece that is passed on ends with an event's end; together they are the bytes."""
    whole = WholeEvents()
    pieces = [whole.feed(part) for part in (WHOLE[:cut], WHOLE[cut:])]
    assert b"".join(pieces) == WHOLE
    assert all(piece.endswith(b"\n\n") for piece in pieces if piece)


def test_byte_by_byte() -> None:
    """The smallest chunks there are."""
    whole = WholeEvents()
    pieces = [whole.feed(bytes([byte])) for byte in WHOLE]
    assert b"".join(pieces) == WHOLE
    assert len([piece for piece in pieces if piece]) == 5


def test_what_is_seen() -> None:
    """Tokens, the result, the last change set, and that it is over."""
    seen = Seen()
    seen.feed(WHOLE)
    assert seen.tokens == 120
    assert seen.usage.cost_usd == 0.5
    assert seen.result["result"] == "hello"
    assert seen.changes == '{"base":null,"files":[]}'
    assert seen.done


def test_bytes_come_as_they_are_and_accounts_are_settled_once() -> None:
    """Nothing is added to a run that went well."""
    run, settled = forwarded(WHOLE[:50], WHOLE[50:])
    assert b"".join(run.stream()) == WHOLE
    run.close()
    assert settled == [run]


@pytest.mark.parametrize("breaks", [True, False])
def test_a_runner_that_dies_is_told(breaks: bool) -> None:
    """In the middle of an event: what was whole, then INTERRUPTED, then `done`."""
    run, settled = forwarded(ANSWER + RESULT[:60], breaks=breaks)
    data = b"".join(run.stream())
    assert data.startswith(ANSWER)
    assert RESULT[:60] not in data
    assert last_error(data)["code"] == "INTERRUPTED"
    assert settled == [run]


def test_a_run_that_is_stopped_says_why() -> None:
    """The first reason holds, whatever the connection says afterwards."""
    run, _ = forwarded(ANSWER, RESULT, breaks=True)
    stream: Iterator[bytes] = run.stream()
    assert next(stream) == ANSWER
    run.stop(StoppedError("The gateway is shutting down.", code=Code.SHUTDOWN))
    run.stop(StoppedError("Something else."))
    assert last_error(b"".join(stream))["code"] == "SHUTDOWN"


def test_a_run_that_passes_its_tokens_is_stopped() -> None:
    """At the answer that passed them."""
    run, _ = forwarded(ANSWER, RESULT + DONE, max_tokens=119)
    assert last_error(b"".join(run.stream()))["code"] == "QUOTA_EXCEEDED"
    run, _ = forwarded(ANSWER, RESULT + DONE, max_tokens=120)
    assert b"".join(run.stream()) == ANSWER + RESULT + DONE


def test_an_answer_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends at the event that would pass the bound; as one object, without its parts."""
    monkeypatch.setattr(forwarding, "MAX_ANSWER_BYTES", len(ANSWER))
    run, settled = forwarded(ANSWER, RESULT + DONE)
    data = b"".join(run.stream())
    assert data.startswith(ANSWER)
    assert RESULT not in data
    assert last_error(data)["code"] == "PAYLOAD_TOO_LARGE"
    assert settled == [run]
    run, _ = forwarded(WHOLE + message(type="result", result="x" * len(ANSWER)))
    status, body = run.whole("request-1")
    assert (status, body["result"], body["error"]["code"]) == (413, None, "PAYLOAD_TOO_LARGE")


def test_a_reader_that_leaves_settles() -> None:
    """Closing the generator, begun or not, ends the upstream and settles once."""
    for begun in (True, False):
        run, settled = forwarded(ANSWER, RESULT)
        stream: Any = run.stream()
        if begun:
            next(stream)
        stream.close()
        run.close()
        assert settled == [run]
        assert run.upstream.read() is None


def test_one_object() -> None:
    """The result, the change set, and the status that the runner's error has."""
    run, _ = forwarded(WHOLE)
    status, body = run.whole("request-1")
    assert status == 200
    assert list(body) == ["requestId", "sessionId", "result", "changes", "error"]
    assert (body["requestId"], body["sessionId"]) == ("request-1", "session-1")
    assert (body["result"]["result"], body["changes"]) == ("hello", {"base": None, "files": []})
    told = encode_event('{"error":"Too slow.","code":"TIMEOUT","details":{}}', event="error")
    run, _ = forwarded(ANSWER + told + DONE)
    status, body = run.whole("request-1")
    assert (status, body["error"]["code"]) == (408, "TIMEOUT")
