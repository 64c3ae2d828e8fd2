"""What must not start: refused whole, before anything, naming field and rule, without a trace."""

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from conftest import MakeRunner

import servers
from claude_run.wire import MAX_BODY_BYTES
from servers import post_run

pytestmark = pytest.mark.e2e

UUID = "7d444840-9dc0-4b1e-8c3a-8f8a3f3b5a11"
NAUGHTY = [
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ufeff",
    "../../etc/passwd",
    "--version",
    "$(id)",
    "`id`",
    "'; DROP TABLE runs; --",
    "%n%s%x",
    "{0.__class__}",
    "\u202e\u2066evil",
    "👩‍👩‍👧‍👦",
    "A" * 70_000,
    "http://169.254.169.254/computeMetadata/v1/",
]

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("prompt", {"prompt": 3}),
    ("prompt", {"prompt": None}),
    ("prompt", {"prompt": ""}),
    ("prompt", {"prompt": " \n\t "}),
    ("prompt", {"prompt": "x" * 4_000_001}),
    ("systemPrompt", {"systemPrompt": ["x"]}),
    ("systemPrompt", {"systemPrompt": ""}),
    ("systemPrompt", {"systemPrompt": "x" * 1_000_001}),
    ("appendSystemPrompt", {"appendSystemPrompt": 1}),
    ("allowedTools", {"allowedTools": "Read"}),
    ("allowedTools.0", {"allowedTools": ["--dangerously-skip-permissions"]}),
    ("allowedTools.0", {"allowedTools": ["Read,Bash"]}),
    ("allowedTools.1", {"allowedTools": ["Read", "Bash(a)(b)"]}),
    ("allowedTools", {"allowedTools": ["Read"] * 201}),
    ("disallowedTools.0", {"disallowedTools": [""]}),
    ("disallowedTools.0", {"disallowedTools": ["Bash(a\nb)"]}),
    ("permissionMode", {"permissionMode": "yolo"}),
    ("permissionMode", {"permissionMode": 1}),
    ("mcpConfigJson", {"mcpConfigJson": "{}"}),
    ("mcpConfigJson.mcpServers", {"mcpConfigJson": {}}),
    ("mcpConfigJson", {"mcpConfigJson": {"mcpServers": {"a b": {"command": "x"}}}}),
    ("mcpConfigJson", {"mcpConfigJson": {"mcpServers": {"a": {"command": ""}}}}),
    ("mcpConfigJson", {"mcpConfigJson": {"mcpServers": {"a": {"type": "sdk"}}}}),
    ("maxTurns", {"maxTurns": 0}),
    ("maxTurns", {"maxTurns": -1}),
    ("maxTurns", {"maxTurns": "unlimited"}),
    ("maxTurns", {"maxTurns": 1.5}),
    ("maxTurns", {"maxTurns": True}),
    ("maxTurns", {"maxTurns": 10**30}),
    ("model", {"model": "--help"}),
    ("model", {"model": "a b"}),
    ("fallbackModel", {"fallbackModel": ""}),
    ("useNamedPipe", {"useNamedPipe": "yes"}),
    ("timeoutMinutes", {"timeoutMinutes": 0}),
    ("timeoutMinutes", {"timeoutMinutes": -0.1}),
    ("timeoutMinutes", {"timeoutMinutes": 50.001}),
    ("timeoutMinutes", {"timeoutMinutes": "10"}),
    ("anthropicApiKey", {"anthropicApiKey": "planted secret with spaces"}),
    ("anthropicApiKey", {"anthropicApiKey": "short"}),
    ("anthropicApiKey", {"anthropicApiKey": "planted\r\nX-Evil: 1"}),
    ("anthropicBaseUrl", {"anthropicBaseUrl": "https://evil.example"}),
    ("anthropicBaseUrl", {"anthropicBaseUrl": "ftp://api.anthropic.com"}),
    ("anthropicBaseUrl", {"anthropicBaseUrl": "https://a:b@api.anthropic.com"}),
    ("anthropicBaseUrl", {"anthropicBaseUrl": "https://api.anthropic.com:99999"}),
    ("anthropicBaseUrl", {"anthropicBaseUrl": "https://api.anthropic.com?x=1"}),
    ("repository", {"repository": {}}),
    ("repository.url", {"repository": {"url": "file:///etc"}}),
    ("repository.url", {"repository": {"url": "https://evil.example/a/b"}}),
    ("repository.url", {"repository": {"url": "https://t:t@github.com/a/b"}}),
    ("repository.name", {"repository": {"name": "-x/y"}}),
    ("repository.name", {"repository": {"name": "a/b/c"}}),
    ("repository.branch", {"repository": {"name": "a/b", "branch": "--upload-pack=x"}}),
    ("repository.branch", {"repository": {"name": "a/b", "branch": "a b"}}),
    ("repository.commit", {"repository": {"name": "a/b", "commit": "HEAD"}}),
    ("repository.depth", {"repository": {"name": "a/b", "depth": 1}}),
    ("githubToken", {"githubToken": "planted-github-token"}),
    ("changes.base", {"changes": {"base": "a" * 40, "files": []}}),
    ("maxBudgetUsd", {"maxBudgetUsd": 0}),
    ("maxBudgetUsd", {"maxBudgetUsd": -1}),
    ("outputSchema", {"outputSchema": []}),
    ("resume.sessionId", {"resume": {"sessionId": "../../x", "transcript": [{}]}}),
    ("resume.transcript", {"resume": {"sessionId": UUID, "transcript": []}}),
    (
        "resume.transcript.0.path",
        {"resume": {"sessionId": UUID, "transcript": [{"path": "../x.jsonl", "entries": []}]}},
    ),
    ("changes.base", {"changes": {"base": "main", "files": []}}),
    ("changes.files.0", {"changes": {"base": None, "files": [{"path": "/etc/x"}]}}),
    (
        "changes.files.0",
        {"changes": {"base": None, "files": [{"path": ".git/hooks/x", "deleted": True}]}},
    ),
    ("wantTranscript", {"wantTranscript": 1}),
    ("max_turns", {"max_turns": 3}),
    ("surprise", {"surprise": 1}),
]


@pytest.mark.parametrize(
    ("field", "fields"), WRONG, ids=[f"{n}-{field}" for n, (field, _) in enumerate(WRONG)]
)
def test_a_wrong_field_is_named(
    runner: servers.Server, field: str, fields: Mapping[str, Any]
) -> None:
    """400, `{error, code, details}`, the field by its name, nothing of its value."""
    answer = post_run(runner.url, {"prompt": "x"} | dict(fields))
    body = json.loads(answer.body)
    assert answer.status == 400
    assert set(body) == {"error", "code", "details"}
    assert body["code"] == "VALIDATION_ERROR"
    assert body["details"]["field"].startswith(field)
    assert body["details"]["rule"]
    assert "planted" not in answer.body.decode()
    assert answer.headers["x-request-id"]
    assert answer.headers["x-instance-id"]


BODIES = [
    b"",
    b"x",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b'{"prompt": "x"} x',
    b'{"prompt": NaN}',
    b'{"prompt": "x", "maxBudgetUsd": Infinity}',
    b'{"prompt": "x", "maxBudgetUsd": 1e999}',
    b'{"prompt": "x", "maxTurns": ' + b"9" * 5000 + b"}",
    b'{"prompt": "x", "prompt": "y"}',
    b'{"prompt": "x", "mcpConfigJson": {"a": 1, "a": 2}}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"prompt": "\xff"}',
    b'{"prompt": "\\ud800"}',
    '{"prompt": "x"}'.encode("utf-16"),
    b'\xef\xbb\xbf{"prompt": "x"}',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_body_that_is_no_plain_json_object(runner: servers.Server, body: bytes) -> None:
    """400, whatever it is."""
    answer = post_run(runner.url, body)
    assert answer.status == 400
    assert json.loads(answer.body)["code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize("field", ["systemPrompt", "appendSystemPrompt", "model", "allowedTools"])
def test_naughty_strings_never_break_it(runner: servers.Server, field: str) -> None:
    """Each is either taken or refused with 400; taken ones are tried in other tests."""
    for text in NAUGHTY:
        value: object = [text] if field == "allowedTools" else text
        # A last field that is refused keeps the good ones from starting a run.
        answer = post_run(runner.url, {"prompt": "x", field: value, "zzz": 1})
        assert answer.status == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/jsonp"},
        {"Content-Encoding": "gzip"},
    ],
)
def test_another_content_type(runner: servers.Server, headers: dict[str, str]) -> None:
    """415."""
    answer = post_run(runner.url, {"prompt": "x"}, headers=headers)
    assert answer.status == 415
    assert json.loads(answer.body)["code"] == "UNSUPPORTED_MEDIA_TYPE"


def test_one_byte_too_long(runner: servers.Server) -> None:
    """413 one byte over the limit, declared or not; at the limit it is read and judged."""
    body = b'{"prompt": "x", "zzz": "' + b"a" * MAX_BODY_BYTES
    at_limit = body[: MAX_BODY_BYTES - 2] + b'"}'
    assert post_run(runner.url, at_limit).status == 400
    over = body[: MAX_BODY_BYTES - 1] + b'"}'
    answer = post_run(runner.url, over)
    assert answer.status == 413
    assert json.loads(answer.body)["code"] == "PAYLOAD_TOO_LARGE"
    with httpx2.Client(timeout=30, trust_env=False) as client:
        undeclared = client.post(
            f"{runner.url}/run",
            content=iter([over]),
            headers={"Content-Type": "application/json"},
        )
    assert undeclared.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/run", 405),
        ("PUT", "/run", 405),
        ("POST", "/", 405),
        ("POST", "/health", 405),
        ("GET", "/nothing", 404),
        ("GET", "/run/", 404),
        ("GET", "//run", 404),
        ("GET", "/%2e%2e/etc/passwd", 404),
    ],
)
def test_other_paths_and_methods(
    runner: servers.Server, method: str, path: str, status: int
) -> None:
    """404 and 405 in the same form as every other error."""
    answer = httpx2.request(method, runner.url + path, trust_env=False)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "code", "details"}


def test_welcome_and_health(runner: servers.Server) -> None:
    """As the reference shows them."""
    assert httpx2.get(f"{runner.url}/", trust_env=False).json() == {
        "message": "Claude Code Cloud Run Service",
        "endpoints": {"run": "POST /run", "health": "GET /health"},
    }
    assert httpx2.get(f"{runner.url}/health", trust_env=False).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 200),
    ],
)
def test_a_page_in_the_users_browser_cannot_call(
    runner: servers.Server, headers: dict[str, str], status: int
) -> None:
    """Without authentication only this machine's own names and origins are served."""
    answer = httpx2.get(f"{runner.url}/health", headers=headers, trust_env=False)
    assert answer.status_code == status


def raw(url: str, request: bytes) -> bytes:
    """What a server answers to bytes."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=10) as sock:
        received = b""
        # A server that closes with some of the request unread resets the connection.
        with suppress(OSError):
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65536):
                received += chunk
        return received


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /run HTTP/1.1\r\n\r\n",
        b"POST /run HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        (
            b"POST /run HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}"
        ),
        b"POST /run HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /run HTTP/1.1\r\nHost: {host}\r\nContent-Length: -1\r\n\r\n",
        b"GET http://evil.example/run HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\nX: " + b"a" * 400_000 + b"\r\n\r\n",
    ],
)
def test_requests_that_no_client_sends(runner: servers.Server, request_bytes: bytes) -> None:
    """4xx in the form of every refusal, or a closed connection; never a crash."""
    host = runner.url.removeprefix("http://").encode()
    answer = raw(runner.url, request_bytes.replace(b"{host}", host))
    head, _, body = answer.partition(b"\r\n\r\n")
    if answer:
        assert head.startswith(b"HTTP/1.1 4")
        assert b"\r\nx-request-id: " in head.lower()
        assert b"\r\nx-instance-id: " in head.lower()
        assert set(json.loads(body)) == {"error", "code", "details"}
    assert httpx2.get(f"{runner.url}/health", trust_env=False).status_code == 200


def test_a_caller_who_leaves_within_the_body_is_no_error(make_runner: MakeRunner) -> None:
    """It happens on every network; a log of errors is for what somebody should look at."""
    server = make_runner()
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=10) as sock:
        sock.sendall(
            f"POST /run HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
    # Both connections are served by one event loop, the older one first.
    assert httpx2.get(f"{server.url}/health", trust_env=False).status_code == 200
    server.stop()
    assert "rror" not in server.log()


def test_a_session_under_way_is_not_started_twice(runner: servers.Server) -> None:
    """409 while the workspace of the same session is in use on this instance."""
    entry = '{"type":"user"}'
    resume = {
        "sessionId": UUID,
        "transcript": [{"path": f"{UUID}.jsonl", "entries": [entry]}],
    }
    with (
        httpx2.Client(timeout=30, trust_env=False) as client,
        client.stream("POST", f"{runner.url}/run", json={"prompt": "x", "resume": resume}) as first,
    ):
        assert first.status_code == 200
        again = post_run(runner.url, {"prompt": "x", "resume": resume})
        assert again.status == 409
        assert json.loads(again.body)["code"] == "CONFLICT"


def test_wrong_settings_are_all_named_at_once(make_runner: MakeRunner) -> None:
    """A runner that is set up wrongly does not start, and says everything that is wrong."""
    with pytest.raises(AssertionError) as caught:
        make_runner(PORT="many", AUTH="iam", PERMISSION_MODE="x", ALLOWED_TOOLS="Read")
    for name in ("PORT", "AUTH", "PERMISSION_MODE", "ALLOWED_TOOLS"):
        assert name in str(caught.value)
    with pytest.raises(AssertionError, match="AUTH"):
        make_runner(HOST="0.0.0.0")
