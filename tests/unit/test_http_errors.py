"""Bad input over HTTP: the envelope everywhere, the runner's body for a run, and no trace."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from claude_run.errors import ConfigurationError
from claude_run.wire import MAX_BODY_BYTES
from gateway_app import IAM, open_app, token

START = "/interactive/start"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    """A laptop's gateway with no limit that a test could reach."""
    with open_app(tmp_path, RATE_LIMIT_PER_MINUTE="100000") as (client, _):
        yield client


def send(client: FlaskClient, path: str, body: bytes | dict[str, Any]) -> tuple[int, Any]:
    """Post a body as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(path, data=data, content_type="application/json")
    return answer.status_code, answer.get_json()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "NOT_FOUND"),
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("GET", "/interactive/", 404, "NOT_FOUND"),
        ("GET", "/interactive/none", 404, "NOT_FOUND"),
        ("GET", "/interactive/none/events", 404, "NOT_FOUND"),
        ("DELETE", "/interactive/none", 404, "NOT_FOUND"),
        ("GET", "/interactive/no%20id", 404, "NOT_FOUND"),
        ("GET", "/interactive/%00", 404, "NOT_FOUND"),
        ("GET", "/interactive/" + "a" * 65, 404, "NOT_FOUND"),
        ("GET", "/interactive/" + "a" * 5000, 404, "NOT_FOUND"),
        ("GET", "/interactive/é", 404, "NOT_FOUND"),
        ("GET", "/interactive/status?sessionId=none", 404, "NOT_FOUND"),
        ("GET", "/robots.txt", 404, "NOT_FOUND"),
        ("GET", START, 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/interactive/status", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/run", 405, "METHOD_NOT_ALLOWED"),
        ("PUT", "/health", 405, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", "/health", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/interactive/status", 400, "VALIDATION_ERROR"),
        ("GET", "/interactive/status?sessionId=a&sessionId=b", 400, "VALIDATION_ERROR"),
        ("GET", "/interactive/status?sessionId=a&x=1", 400, "VALIDATION_ERROR"),
        ("GET", "/interactive?limit=0", 400, "VALIDATION_ERROR"),
        ("GET", "/interactive?limit=101", 400, "VALIDATION_ERROR"),
        ("GET", "/interactive?limit=%C3%A9", 400, "VALIDATION_ERROR"),
        ("GET", "/interactive?pageToken=x", 400, "VALIDATION_ERROR"),
        ("GET", "/interactive?pageToken=" + "9" * 400, 400, "VALIDATION_ERROR"),
    ],
)
def test_what_is_not_there(
    client: FlaskClient, method: str, path: str, status: int, code: str
) -> None:
    """Every refusal has the page's envelope."""
    answer = client.open(path, method=method)
    body = answer.get_json()
    assert (answer.status_code, body["error"]) == (status, code)
    assert set(body) == {"error", "message", "timestamp"}
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    "error", [KeyError("planted-secret"), ConfigurationError("The key planted-secret is none.")]
)
def test_what_is_our_own_fault_is_not_shown(
    client: FlaskClient, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """500 in the envelope, and the rest is for the log."""

    def fail() -> str:
        raise error

    client.application.add_url_rule("/fails", view_func=fail)
    answer = client.get("/fails")
    body = answer.get_json()
    assert (answer.status_code, body["error"]) == (500, "INTERNAL_ERROR")
    assert set(body) == {"error", "message", "timestamp"}
    assert "planted" not in answer.text
    told = capsys.readouterr()
    assert "planted-secret" in told.out + told.err


@pytest.mark.parametrize("number", ["x", "-1", "1.0", "9" * 19, "9" * 5000, "é", "", "1,2"])
def test_a_number_that_no_event_has(client: FlaskClient, number: str) -> None:
    """A malformed Last-Event-ID is 400, and not an empty stream."""
    answer = client.get("/interactive/a/events", headers={"Last-Event-ID": number})
    assert (answer.status_code, answer.get_json()["error"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"prompt": NaN}',
        b'{"prompt": "a", "prompt": "b"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"prompt": 1' + b"0" * 5000 + b"}",
        b'{"prompt": "x", "unknown": 1}',
        b'{"prompt": ["x"]}',
        b'{"prompt": " "}',
        b'{"prompt": "x", "sessionId": "a/b"}',
        b'{"prompt": "x", "sessionId": "start"}',
        b'{"prompt": "x", "options": {"maxTurns": "1"}}',
        b'{"prompt": "x", "options": {"createPR": true}}',
        b'{"prompt": "x", "options": {"detach": true}, "githubToken": "12345678"}',
    ],
)
def test_a_body_that_cannot_be_used(client: FlaskClient, body: bytes) -> None:
    """400 and no session; for a run, the runner's own form of an error."""
    status, error = send(client, START, body)
    assert (status, error["error"]) == (400, "VALIDATION_ERROR")
    status, error = send(client, "/run", body)
    assert (status, error["code"]) == (400, "VALIDATION_ERROR")
    assert set(error) == {"error", "code", "details"}
    assert client.get("/interactive").get_json()["sessions"] == []


def test_a_body_one_byte_too_long(client: FlaskClient) -> None:
    """Refused by what it says, and, where it says nothing, by what comes."""
    body = b'{"prompt": "' + b"x" * MAX_BODY_BYTES + b'"}'
    assert send(client, START, body)[1]["error"] == "PAYLOAD_TOO_LARGE"
    assert send(client, "/run", body)[1]["code"] == "PAYLOAD_TOO_LARGE"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/json; charset=utf-16"),
        ("Content-Encoding", "gzip"),
    ],
)
def test_a_body_of_another_kind(client: FlaskClient, name: str, value: str) -> None:
    """Another type, another character set, a compressed body: 415."""
    headers = {"Content-Type": "application/json", name: value}
    assert client.post(START, data=b"{}", headers=headers).status_code == 415
    assert client.post("/run", data=b"{}", headers=headers).get_json()["code"] == (
        "UNSUPPORTED_MEDIA_TYPE"
    )


def test_a_key_of_ours_goes_to_no_other_server(tmp_path: Path) -> None:
    """With the stored key, a caller's own upstream is refused before anything is reserved."""
    with open_app(tmp_path) as (client, gateway):
        gateway.vault.put("anthropic-api-key", "sk-planted-in-the-vault")
        body = {"prompt": "x", "anthropicBaseUrl": "https://evil.example"}
        for path, member in (("/run", "code"), (START, "error")):
            status, error = send(client, path, body)
            assert (status, error[member]) == (400, "NO_CREDENTIAL")
            assert "planted" not in json.dumps(error)
        assert client.get("/health").get_json()["quota"]["activeSessions"] == 0


def test_a_run_that_cannot_start_leaves_no_reservation(client: FlaskClient) -> None:
    """The runner is not there: 503, when to come back, and the slot is free."""
    answer = client.post("/run", json={"prompt": "x"})
    assert (answer.status_code, answer.get_json()["code"]) == (503, "UNAVAILABLE")
    assert answer.headers["Retry-After"]
    quota = client.get("/health").get_json()["quota"]
    assert (quota["activeSessions"], quota["dailyTokens"]) == (0, 0)


def test_sessions_are_their_owners(tmp_path: Path) -> None:
    """Another's session is not there; two owners may use one id; the same owner twice is 409."""
    with open_app(tmp_path, **IAM) as (client, _):
        mine, other = token("me"), token("other")
        body = {"prompt": "x", "sessionId": "same"}
        first = client.post(START, json=body, headers=mine)
        assert first.headers["X-Session-Id"] == "same"
        # The runner is not there, so the turn is over when its stream is.
        assert b'"code":"UNAVAILABLE"' in first.get_data()
        assert client.post(START, json=body, headers=mine).status_code == 409
        for method, path in (
            ("GET", "/interactive/same"),
            ("GET", "/interactive/status?sessionId=same"),
            ("GET", "/interactive/same/events"),
            ("DELETE", "/interactive/same"),
        ):
            assert client.open(path, method=method, headers=other).status_code == 404
            assert client.open(path, method=method, headers=mine).status_code == 200
        message = client.post("/interactive/same/message", json={"prompt": "y"}, headers=other)
        assert message.status_code == 404
        assert client.get("/interactive", headers=other).get_json()["sessions"] == []
        assert client.post(START, json=body, headers=other).status_code == 200


def test_a_stream_that_is_over(tmp_path: Path) -> None:
    """Nothing newer and over: 204; from an earlier number: what was missed, once."""
    with open_app(tmp_path) as (client, _):
        whole = client.post(START, json={"prompt": "x", "sessionId": "s"}).get_data()
        last = int(whole.rsplit(b"\nid: ", 1)[1].split(b"\n")[0])
        url = "/interactive/s/events"
        assert client.get(url, headers={"Last-Event-ID": str(last)}).status_code == 204
        again = client.get(url, headers={"Last-Event-ID": "1"}).get_data()
        assert again.count(b"\nid: 1\n") == 0
        assert again.count(b"\nid: 2\n") == 1
        assert whole.endswith(again.removeprefix(b": stream open\n\n"))


def test_pages_of_sessions(tmp_path: Path) -> None:
    """Newest first, each once, until there is no token any more."""
    with open_app(tmp_path) as (client, _):
        for number in range(5):
            client.post(START, json={"prompt": "x", "sessionId": f"s{number}"}).get_data()
        found: list[str] = []
        url: str | None = "/interactive?limit=2"
        while url:
            page = client.get(url).get_json()
            found += [session["sessionId"] for session in page["sessions"]]
            following = page["nextPageToken"]
            url = f"/interactive?limit=2&pageToken={following}" if following else None
    assert found == ["s4", "s3", "s2", "s1", "s0"]
