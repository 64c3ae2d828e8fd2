"""The gateway as functions-framework really serves it, before a real runner and Claude Code."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import servers
from claude_run.sse import Decoder
from servers import post_run, running_gateway, say, scenario

pytestmark = pytest.mark.e2e

SLOW = {"prompt": scenario(say("slow " * 600, chunk_size=5, delay_ms=100))}
# Cloud Run kills 10 s after SIGTERM.
EXIT_SECONDS = 8.0
GONE_SECONDS = 5.0


@pytest.fixture(scope="module")
def gateway(runner: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One gateway for the tests that leave it as it was."""
    with running_gateway(runner.url, tmp_path_factory.mktemp("gateway")) as server:
        yield server.url


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    """Without the environment's proxies."""
    with httpx2.Client(timeout=60, trust_env=False) as client:
        yield client


class Reader(threading.Thread):
    """Posts a request and reads its stream to the end, beside the test."""

    def __init__(self, url: str, body: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._body = body
        self.begun = threading.Event()
        self.received = b""
        self.failure: Exception | None = None
        self.start()

    def run(self) -> None:
        """Read."""
        try:
            with (
                httpx2.Client(timeout=60, trust_env=False) as client,
                client.stream("POST", self._url, json=self._body) as answer,
            ):
                for chunk in answer.iter_raw():
                    self.received += chunk
                    if b"slow" in chunk:
                        self.begun.set()
        except httpx2.HTTPError as error:
            self.failure = error

    def events(self) -> list[tuple[str, str]]:
        """Names and data, once it is over."""
        self.join(GONE_SECONDS)
        assert not self.is_alive()
        assert self.failure is None
        return [(event.event, event.data) for event in Decoder().feed(self.received)]


def quota(http: httpx2.Client, url: str) -> dict[str, Any]:
    """Today's figures, as `/health` has them now."""
    found: dict[str, Any] = http.get(f"{url}/health").json()["quota"]
    return found


def wait_for_no_run(http: httpx2.Client, url: str) -> dict[str, Any]:
    """The figures once every slot is free."""
    deadline = time.monotonic() + 15
    while (found := quota(http, url))["activeSessions"] and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found["activeSessions"] == 0
    return found


def test_a_session_through_the_front_door(http: httpx2.Client, gateway: str) -> None:
    """Started, read again, continued, listed, deleted; its stream comes unbuffered and once."""
    first = http.post(f"{gateway}/interactive/start", json={"prompt": scenario(say("one"))})
    session = first.headers["X-Session-Id"]
    assert first.headers["Content-Type"].startswith("text/event-stream")
    names = [event.event for event in Decoder().feed(first.content)]
    assert (names[0], names[-1]) == ("connected", "complete")
    url = f"{gateway}/interactive/{session}"
    replay = http.get(f"{url}/events")
    assert replay.content == first.content
    second = http.post(f"{url}/message", json={"prompt": scenario(say("two"))})
    assert '"content":"two"' in second.text
    assert http.get(url).json()["currentTurn"] == 2
    listed = http.get(f"{gateway}/interactive").json()["sessions"]
    assert session in [found["sessionId"] for found in listed]
    assert http.delete(url).json()["status"] == "completed"


def test_text_comes_when_it_is_made(http: httpx2.Client, gateway: str) -> None:
    """Neither framework nor server holds a stream back."""
    for path in ("/run", "/interactive/start"):
        pauses: list[float] = []
        body = {"prompt": scenario(say("a b c d", chunk_size=2, delay_ms=300))}
        with http.stream("POST", f"{gateway}{path}", json=body) as answer:
            came = time.monotonic()
            for _ in answer.iter_raw():
                pauses.append(time.monotonic() - came)
                came = time.monotonic()
        assert len([pause for pause in pauses if pause > 0.2]) >= 3


@pytest.mark.parametrize("path", ["/robots.txt", "/favicon.ico", "//", "/a//b"])
def test_no_answer_is_the_frameworks(gateway: str, path: str) -> None:
    """What functions-framework would answer itself, or redirect, is our 404."""
    host, port = gateway.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'"error":"NOT_FOUND"' in answer
    assert b"X-Request-Id" in answer


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("Transfer-Encoding: chunked", b"zz\r\nxx\r\n0\r\n\r\n", b"400"),
        ("Transfer-Encoding: chunked", b"5\r\n{}", b"400"),
        ("Content-Length: 50", b"{}", b"400"),
        ("Content-Length: 99999999999", b"{}", b"413"),
        ("Content-Length: 33000000", b"{}", b"413"),
    ],
)
def test_a_body_that_breaks(gateway: str, head: str, body: bytes, status: bytes) -> None:
    """A malformed chunk, an early end, a size that is too large before anything is read."""
    host, port = gateway.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"POST /interactive/start HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Content-Type: application/json\r\n{head}\r\n\r\n".encode()
            + body
        )
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split(b" ")[1] == status


@pytest.mark.parametrize("sent", [b"<script>\r\n\r\n", b"GET / HTTP/1.1\r\n<script>\r\n\r\n"])
def test_what_is_no_request(gateway: str, sent: bytes) -> None:
    """The API's own form of an error, which repeats nothing of it."""
    host, port = gateway.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"400"
    assert b"X-Request-Id: " in head
    assert set(json.loads(body)) == {"error", "message", "timestamp"}
    assert b"script" not in answer


def test_a_run_is_the_runners(gateway: str, runner: servers.Server) -> None:
    """The same events, ids and objects; the same refusals, to the byte."""
    body = {"prompt": scenario(say("hello"))}
    ours, theirs = post_run(gateway, body), post_run(runner.url, body)
    assert ours.status == 200
    assert [event.event for event in ours.events] == [event.event for event in theirs.events]
    assert ours.text == theirs.text == "hello"
    assert ours.headers["X-Session-Id"]
    assert ours.headers["X-Instance-Id"] == theirs.headers["X-Instance-Id"]
    accept = {"Accept": "application/json"}
    ours, theirs = (
        post_run(gateway, body, headers=accept),
        post_run(runner.url, body, headers=accept),
    )
    one, other = json.loads(ours.body), json.loads(theirs.body)
    assert one.keys() == other.keys()
    assert one["result"]["result"] == other["result"]["result"] == "hello"
    for refused in (
        {},
        {"prompt": 1},
        {"prompt": "x", "repository": {"url": "https://evil.test/"}},
    ):
        ours, theirs = post_run(gateway, refused), post_run(runner.url, refused)
        assert (ours.status, ours.body.strip()) == (theirs.status, theirs.body.strip())
        assert ours.status == 400


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
def test_whoever_leaves_ends_the_run(http: httpx2.Client, gateway: str, accept: str) -> None:
    """The run dies, its slot is free, and what it used is counted."""
    before = quota(http, gateway)["dailyTokens"]
    # Without a stream there is nothing to see of it: by then the model has begun.
    timeout = httpx2.Timeout(60, read=10)
    try:
        with http.stream(
            "POST", f"{gateway}/run", json=SLOW, headers={"Accept": accept}, timeout=timeout
        ) as answer:
            next(chunk for chunk in answer.iter_raw() if b"text_delta" in chunk)
    except httpx2.ReadTimeout:
        assert accept == "application/json"
    # `nothing_left` sees to it that no process stays.
    time.sleep(6)  # longer than an answer of /health is kept
    after = wait_for_no_run(http, gateway)
    assert after["dailyTokens"] > before


def test_sigterm_ends_streams_with_a_reason(
    runner: servers.Server, tmp_path: Path, http: httpx2.Client
) -> None:
    """Both kinds of stream say SHUTDOWN and end whole; the session's state is stored."""
    with running_gateway(runner.url, tmp_path) as server:
        run = Reader(f"{server.url}/run", SLOW)
        session = Reader(f"{server.url}/interactive/start", SLOW | {"sessionId": "mine"})
        assert run.begun.wait(20)
        assert session.begun.wait(20)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < EXIT_SECONDS
    assert run.events()[-1] == ("done", "[DONE]")
    name, data = run.events()[-2]
    assert (name, json.loads(data)["code"]) == ("error", "SHUTDOWN")
    name, data = session.events()[-1]
    assert (name, json.loads(data)["code"]) == ("error", "SHUTDOWN")
    with running_gateway(runner.url, tmp_path) as server:
        assert http.get(f"{server.url}/interactive/mine").json()["status"] == "error"
        replay = http.get(f"{server.url}/interactive/mine/events").content
        assert replay == session.received
        assert quota(http, server.url)["activeSessions"] == 0


def test_a_reader_that_stalls_does_not_hold_the_exit(
    runner: servers.Server, tmp_path: Path
) -> None:
    """Whoever reads nothing is left behind in time."""
    text = {"prompt": scenario(say("x" * 1_000_000, chunk_size=50_000))}
    body = json.dumps(text).encode()
    with running_gateway(runner.url, tmp_path) as server:
        host, port = server.url.removeprefix("http://").split(":")
        stalled = socket.create_connection((host, int(port)))
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.sendall(
            f"POST /run HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        stalled.recv(64)
        time.sleep(3)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < EXIT_SECONDS + 1.5
        stalled.close()


def test_an_answer_above_8_mb_ends_by_itself(gateway: str) -> None:
    """It says why, and `done` is the last all the same."""
    found = post_run(gateway, {"prompt": scenario(say("x" * 30_000, chunk_size=1))})
    assert found.error is not None
    assert found.error["code"] == "PAYLOAD_TOO_LARGE"
    assert found.events[-1].event == "done"
    assert len(found.body) < 8_100_000


def test_quota_is_kept_for_runs(runner: servers.Server, tmp_path: Path) -> None:
    """One slot: the second is 429. A day's tokens: the run that passes them is stopped."""
    with running_gateway(
        runner.url, tmp_path, MAX_CONCURRENT_SESSIONS="1", MAX_DAILY_TOKENS="5000"
    ) as server:
        first = Reader(f"{server.url}/run", SLOW)
        deadline = time.monotonic() + 20
        while not first.received and time.monotonic() < deadline:
            time.sleep(0.02)
        second = post_run(server.url, SLOW)
        assert (second.status, json.loads(second.body)["code"]) == (429, "QUOTA_EXCEEDED")
        assert int(second.headers["Retry-After"]) > 0
        # The scripted model's first answer has used more than that.
        name, data = first.events()[-2]
        assert (name, json.loads(data)["code"]) == ("error", "QUOTA_EXCEEDED")
        third = post_run(server.url, SLOW)
        assert (third.status, json.loads(third.body)["code"]) == (429, "QUOTA_EXCEEDED")
    with running_gateway(runner.url, tmp_path / "one", MAX_DAILY_TOKENS="500") as server:
        stopped = post_run(server.url, SLOW, headers={"Accept": "application/json"})
        code = json.loads(stopped.body)["error"]["code"]
        assert (stopped.status, code) == (429, "QUOTA_EXCEEDED")
        assert int(stopped.headers["Retry-After"]) > 0


def test_the_vaults_key_is_used_and_not_told(
    make_runner: Callable[..., servers.Server], tmp_path: Path, model: servers.Server
) -> None:
    """A runner without a key gets the vault's; no answer and no log line holds it."""
    key = "sk-planted-in-the-vault-0123456789"
    keyless = make_runner(ANTHROPIC_API_KEY="")
    with running_gateway(keyless.url, tmp_path) as server:
        refused = post_run(server.url, {"prompt": "hello"})
        assert json.loads(refused.body)["code"] == "NO_CREDENTIAL"
    vault = tmp_path / "vault"
    vault.mkdir(mode=0o700)
    (vault / "anthropic-api-key").write_text(key)
    (vault / "anthropic-api-key").chmod(0o600)
    with running_gateway(keyless.url, tmp_path) as server:
        found = post_run(server.url, {"prompt": scenario(say("with a key marker-7"))})
        assert found.text == "with a key marker-7"
        left = found.body.decode() + server.log() + keyless.log()
    assert key not in left
    assert servers.recorded(model, "marker-7")


@pytest.mark.parametrize(
    ("environ", "host", "named"),
    [
        ({}, "0.0.0.0", ["AUTH is missing"]),
        ({"AUTH": "iam"}, "127.0.0.1", ["AUTH=iam"]),
        (
            {"STORE_URL": "mysql://x", "RATE_LIMIT_PER_DAY": "no", "ALLOWED_ORIGINS": "*"},
            "127.0.0.1",
            ["STORE_URL", "RATE_LIMIT_PER_DAY", "ALLOWED_ORIGINS"],
        ),
        (
            {"K_SERVICE": "api", "AUTH": "iam"},
            "0.0.0.0",
            ["STORE_URL", "VAULT_URL", "RUNNER_URL", "WORKER_JOB"],
        ),
    ],
)
def test_a_wrong_setting_is_named_at_the_start(
    environ: dict[str, str], host: str, named: list[str]
) -> None:
    """All wrong ones at once, before anything listens."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "functions_framework", "--source", "functions/main.py"),
            *("--target", "api", "--host", host, "--port", "0"),
        ],
        env={"PATH": os.environ["PATH"], "HOME": "/tmp"} | environ,
        cwd=servers.REPOSITORY,
        capture_output=True,
        timeout=30,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    for name in named:
        assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_probes_tell_which_instance_answered(http: httpx2.Client, gateway: str) -> None:
    """The runner's own answer, and how long it took."""
    assert http.get(f"{gateway}/container").text == "Container is healthy"
    for path in ("/lb", "/singleton"):
        answer = http.get(f"{gateway}{path}")
        body = answer.json()
        assert body["status"] == "ok"
        assert body["instanceId"] == answer.headers["X-Instance-Id"] != ""
        assert body["milliseconds"] > 0
