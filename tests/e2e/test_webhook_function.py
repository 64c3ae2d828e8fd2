"""The function that takes deliveries in, as functions-framework really serves it."""

import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest

import github_events as gh
import servers
from gateway.http.routes import WEBHOOKS
from gateway.http.server import THREADS
from load import Load, drive
from programs import descendants

pytestmark = pytest.mark.e2e

WEAKENED = Path(servers.__file__).parent / "doubles" / "weakened_gateway.py"
AT_ONCE = 200
# Twice what is promised of a machine that does nothing else; GitHub itself waits 10 s.
P99_SECONDS = 4.0
LONGEST_SECONDS = 9.0
TRIES = 3
READ_SECONDS = 30.0


@pytest.fixture
def function(tmp_path: Path) -> Iterator[servers.Server]:
    """The function; workers are started, and do nothing."""
    with servers.running_gateway(
        "",
        tmp_path,
        target="webhook",
        command=(str(WEAKENED), "idle-workers", "--"),
        GITHUB_WEBHOOK_SECRET=gh.SECRET,
    ) as server:
        assert httpx2.get(f"{server.url}/health", trust_env=False).json() == {"status": "healthy"}
        yield server


def request(body: gh.Json, event: str = "issues", *, delivery: str | None = None) -> bytes:
    """A delivery as it goes over the wire."""
    data = gh.encoded(body)
    return raw(data, list(gh.headers(event, data, delivery=delivery).items()))


def raw(data: bytes, headers: Sequence[tuple[str, str]], *, length: int | None = None) -> bytes:
    """A request with exactly these headers; its length, unless it says another."""
    told = len(data) if length is None else length
    lines = [("Host", "localhost"), ("Content-Length", str(told)), *headers]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"POST {WEBHOOKS} HTTP/1.1\r\n{head}\r\n".encode() + data


def status(url: str, sent: bytes) -> int:
    """What is answered to these bytes, of which there are no more to come."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), READ_SECONDS) as opened:
        opened.sendall(sent)
        opened.shutdown(socket.SHUT_WR)
        answer = b""
        while b"\r\n" not in answer and (more := opened.recv(4096)):
            answer += more
    return int(answer.split(b" ", 2)[1])


def kept(folder: Path, family: str) -> set[str]:
    """The ids of what is stored."""
    with closing(sqlite3.connect(folder / "gateway.db")) as connection:
        rows = connection.execute("SELECT id FROM documents WHERE family = ?", (family,))
        return {name for (name,) in rows}


def test_two_hundred_deliveries_at_once(function: servers.Server, tmp_path: Path) -> None:
    """All are answered, accepted and stored, in time."""
    tries: list[Load] = []
    while not tries or (tries[-1].percentile(0.99) > P99_SECONDS and len(tries) < TRIES):
        first = AT_ONCE * len(tries) + 1
        sent = [request(gh.opened(number)) for number in range(first, first + AT_ONCE)]
        tries.append(drive(function.url, iter(sent), connections=AT_ONCE))
        assert tries[-1].statuses == {200: AT_ONCE}
    assert tries[-1].percentile(0.99) <= P99_SECONDS
    assert max(tries[-1].seconds) <= LONGEST_SECONDS
    assert len(kept(tmp_path, "deliveries")) == AT_ONCE * len(tries)
    assert len(kept(tmp_path, "work")) == AT_ONCE * len(tries)


def test_what_was_accepted_survives_a_kill(function: servers.Server, tmp_path: Path) -> None:
    """Killed amid many deliveries: each that was answered is there, and none by half."""
    accepted: list[str] = []
    killed = threading.Event()

    def send(sender: int) -> None:
        number = sender * 10_000
        while not killed.is_set():
            number += 1
            name = uuid4().hex
            try:
                if status(function.url, request(gh.opened(number), delivery=name)) == 200:
                    accepted.append(name)
            except (OSError, IndexError):
                return  # it is gone

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(1, 9)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + READ_SECONDS
    while len(accepted) < 40 and time.monotonic() < deadline:
        time.sleep(0.005)
    # Its workers have sessions of their own, and are not killed with it.
    for pid in [*descendants(function.pid), function.pid]:
        os.kill(pid, signal.SIGKILL)
    killed.set()
    for thread in threads:
        thread.join(READ_SECONDS)
    function.process.wait(READ_SECONDS)
    assert len(accepted) >= 40
    assert set(accepted) <= kept(tmp_path, "deliveries")
    assert len(kept(tmp_path, "work")) == len(kept(tmp_path, "deliveries"))


def test_who_sends_slowly_is_not_waited_for(tmp_path: Path) -> None:
    """Never silent for long, and ended all the same, as many as there are; others are served."""
    with servers.running_gateway(
        "",
        tmp_path,
        target="webhook",
        command=(str(WEAKENED), "idle-workers", "impatient", "--"),
        GITHUB_WEBHOOK_SECRET=gh.SECRET,
    ) as server:
        data = gh.encoded(gh.opened())
        slow = raw(data[:1], list(gh.headers("issues", data).items()), length=len(data))
        parts = urlsplit(server.url)
        opened = [
            socket.create_connection((parts.hostname or "", parts.port or 80), READ_SECONDS)
            for _ in range(THREADS + 10)
        ]
        for one in opened:
            one.sendall(slow)
        over = threading.Event()

        def drip() -> None:
            while not over.wait(0.2):
                for one in opened:
                    with suppress(OSError):
                        one.sendall(b" ")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert status(server.url, request(gh.opened(8))) == 200
            answers = [one.recv(12) for one in opened]
        finally:
            over.set()
            dripping.join()
            for one in opened:
                one.close()
        assert answers == [b"HTTP/1.1 400"] * len(opened)
        assert len(kept(tmp_path, "work")) == 1


def test_what_no_test_client_can_send(function: servers.Server, tmp_path: Path) -> None:
    """Headers that are there twice, bodies that end early, lie about their length or grow."""
    data = gh.encoded(gh.opened())
    headers = gh.headers("issues", data, delivery="one")

    def without(name: str) -> list[tuple[str, str]]:
        return [(key, value) for key, value in headers.items() if key != name]

    plain = list(headers.items())
    twice = ("X-Hub-Signature-256", "X-GitHub-Delivery", "X-GitHub-Event", "Content-Type")
    for name, expected in zip(twice, (401, 400, 400, 400), strict=True):
        assert status(function.url, raw(data, [*plain, (name, headers[name])])) == expected
    forged = [*without("X-Hub-Signature-256"), ("X_Hub_Signature_256", gh.signature(data))]
    assert status(function.url, raw(data, forged)) in (400, 401)
    assert status(function.url, raw(data[:-5], plain, length=len(data))) == 400
    assert status(function.url, raw(data, plain, length=len(data) - 5)) == 401
    assert status(function.url, raw(b"", plain, length=26 * 1024 * 1024)) == 413
    chunk = b"%x\r\n%s\r\n" % (len(data), data)
    chunked = raw(b"", [*plain, ("Transfer-Encoding", "chunked")]).replace(
        b"Content-Length: 0\r\n", b""
    )
    assert status(function.url, chunked + chunk[:-20]) == 400
    unknown = chunked.replace(b"chunked", b"mine")
    assert status(function.url, unknown + chunk) == 400
    assert status(function.url, chunked + chunk + chunk + b"0\r\n\r\n") == 401
    assert kept(tmp_path, "work") == set()
    assert status(function.url, chunked + chunk + b"0\r\n\r\n") == 200
    assert kept(tmp_path, "deliveries") == {"one"}
    assert gh.SECRET not in function.log()
    assert "Traceback" not in function.log()
    assert function.stop(signal.SIGTERM) == 0
