"""GitHub hands an App over; whatever else it answers is told, and no secret with it."""

import json
import time
from typing import Any

import pytest

from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError
from doubles.recording_server import RecordingServer, recording_server
from gateway.setup import conversion
from gateway.setup.conversion import MAX_ANSWER_BYTES, check_code, convert, parse

PEM = "-----BEGIN RSA PRIVATE KEY-----\nplanted-pem\n-----END RSA PRIVATE KEY-----\n"
ANSWER: dict[str, Any] = {
    "id": 42,
    "slug": "our-app",
    "node_id": "x",
    "owner": {"login": "octo", "id": 1, "type": "User"},
    "html_url": "https://github.com/apps/our-app",
    "pem": PEM,
    "webhook_secret": "planted-webhook",
    "client_secret": "planted-client",
    "client_id": "Iv1",
}
CODE = "a180b1a3d263c81bc6441d7b990bae27d4c10679"


def http(status: int, body: bytes, *headers: str) -> bytes:
    """An answer, as bytes."""
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def answering(server: RecordingServer, answer: bytes) -> None:
    """Let it answer this from now on."""
    server.script = lambda _asked, send: send(answer)


def failure(server: RecordingServer) -> ClaudeRunError:
    """What a conversion fails with; it holds nothing secret."""
    with pytest.raises(ClaudeRunError) as caught:
        convert(server.url, CODE)
    told = f"{caught.value!r} {caught.value.message} {caught.value.details}"
    assert "planted" not in told
    assert CODE not in told
    return caught.value


def test_an_app_is_handed_over() -> None:
    """By one request, which tells who we are; its secrets do not show."""
    with recording_server() as server:
        answering(server, http(201, json.dumps(ANSWER).encode()))
        app = convert(server.url, CODE)
        assert [asked.line for asked in server.asked] == [
            f"POST /app-manifests/{CODE}/conversions HTTP/1.1"
        ]
    assert (app.id, app.slug, app.owner.login, app.pem.get_secret_value()) == (
        *(42, "our-app", "octo"),
        PEM,
    )
    assert "planted" not in f"{app!r} {app} {app.model_dump_json()}"


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 0},
        {"id": "42"},
        {"id": True},
        {"slug": "a/b"},
        {"slug": ""},
        {"slug": None},
        {"owner": None},
        {"owner": {"login": "../x"}},
        {"pem": "planted, and no key"},
        {"pem": PEM + "planted" * 10_000},
        {"pem": None},
        {"webhook_secret": ""},
        {"webhook_secret": 7},
        {"client_secret": []},
    ],
)
def test_an_app_that_is_none(changes: dict[str, Any]) -> None:
    """What GitHub never sends: nothing of it is used, nor told."""
    with pytest.raises(UpstreamError) as caught:
        parse(json.dumps(ANSWER | changes).encode())
    assert caught.value.code is Code.UNAVAILABLE
    assert next(iter(changes)) in str(caught.value.details)
    assert "planted" not in f"{caught.value.details} {caught.value.message}"


def test_an_app_may_lack_what_it_has_no_use_for() -> None:
    """Without a webhook there is no secret for one."""
    app = parse(json.dumps(ANSWER | {"webhook_secret": None, "new": {"x": 1}}).encode())
    assert app.webhook_secret is None


@pytest.mark.parametrize(
    ("answer", "code", "retry_after"),
    [
        (http(404, b"{}"), Code.VALIDATION_ERROR, None),
        (http(422, b"{}"), Code.VALIDATION_ERROR, None),
        (http(500, b"planted"), Code.UNAVAILABLE, "10"),
        (http(429, b"", "Retry-After: 77"), Code.UNAVAILABLE, "77"),
        (http(403, b"", "Retry-After: 99999"), Code.UNAVAILABLE, "3600"),
        (http(503, b"", "Retry-After: soon"), Code.UNAVAILABLE, "10"),
        (http(307, b"", "Location: /elsewhere"), Code.UNAVAILABLE, "10"),
        (http(200, json.dumps(ANSWER).encode()), Code.UNAVAILABLE, "10"),
        (http(201, b"<html>planted"), Code.UNAVAILABLE, "10"),
        (http(201, b"[" * 100_000), Code.UNAVAILABLE, "10"),
        (http(201, b'{"id": NaN}'), Code.UNAVAILABLE, "10"),
        (http(201, b""), Code.UNAVAILABLE, "10"),
        (http(201, json.dumps(ANSWER).encode() + b" " * MAX_ANSWER_BYTES), Code.UNAVAILABLE, "10"),
        (b"HTTP/1.1 201 X\r\nContent-Length: 99\r\n\r\n{", Code.UNAVAILABLE, "10"),
        (b"planted nonsense", Code.UNAVAILABLE, "10"),
        (b"", Code.UNAVAILABLE, "10"),
    ],
)
def test_whatever_else_github_answers(answer: bytes, code: Code, retry_after: str | None) -> None:
    """The code is of no use, or GitHub cannot be asked: two different things to do."""
    with recording_server() as server:
        answering(server, answer)
        error = failure(server)
        assert error.code is code
        assert error.headers.get("Retry-After") == retry_after
        assert len(server.asked) == 1


def test_a_slow_answer_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never pauses for long enough to be noticed by that."""
    monkeypatch.setattr(conversion, "SECONDS", 0.5)

    def drip(_asked: object, send: Any) -> None:  # noqa: ANN401
        send(b"HTTP/1.1 201 X\r\n\r\n")
        for _ in range(1_200):
            send(b" ")
            time.sleep(0.05)

    with recording_server(drip) as server:
        assert failure(server).code is Code.UNAVAILABLE
        assert server.hung_up.wait(60)


def test_nobody_there() -> None:
    """GitHub cannot be reached."""
    with recording_server() as server:
        gone = server
    assert failure(gone).code is Code.UNAVAILABLE


@pytest.mark.parametrize("code", ["", "a/b", "..", "a?b", "a b", "é", "a\n", "a" * 201, "%2e"])
def test_a_code_is_part_of_a_path(code: str) -> None:
    """What could be more than that is refused."""
    with pytest.raises(CallerError, match="code: "):
        check_code(code)
    assert check_code(CODE) == CODE
