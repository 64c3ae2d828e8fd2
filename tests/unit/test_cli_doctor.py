"""Whether a run ends when its caller leaves, as the doctor finds it out from outside."""

import json
import threading
from collections.abc import Callable, Iterator

import pytest

from claude_run.cli import doctor
from claude_run.cli.doctor import disconnected
from claude_run.cli.findings import Finding
from claude_run.client import Client
from doubles.light_runner import light_run
from doubles.recording_server import Asked, RecordingServer, recording_server

_HEALTH = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(doctor, "SEEN_SECONDS", 0.5)
    monkeypatch.setattr(doctor, "GONE_SECONDS", 0.5)


def found(running: Callable[[RecordingServer], int]) -> list[Finding]:
    """What is found at an API with one endless run, whose health has so many `running`."""
    gone = threading.Event()

    def words(_prompt: str) -> Iterator[str]:
        while not gone.wait(0.01):
            yield "1 "

    run = light_run(words)

    def script(asked: Asked, send: Callable[[bytes], None]) -> None:
        if "/health" in asked.line:
            body = json.dumps({"status": "healthy", "quota": {"activeSessions": running(server)}})
            send(_HEALTH.format(len(body), body).encode())
        else:
            run(asked, send)

    with recording_server(script) as server, Client(server.url) as client:
        try:
            return list(disconnected(client))
        finally:
            gone.set()


def asked_to_run(server: RecordingServer) -> bool:
    return any("/run" in asked.line for asked in server.asked)


def test_a_run_that_ends_with_its_caller() -> None:
    """Seen while it went on, and then no more."""
    calls = 0

    def running(server: RecordingServer) -> int:
        nonlocal calls
        calls += asked_to_run(server)
        # Its health is some answers old: at first it does not know of the run.
        return 1 if asked_to_run(server) and 3 < calls < 6 else 0

    [one] = found(running)
    assert one.is_good
    assert "after its caller has left" in one.what
    assert calls == 6


def test_a_run_that_goes_on() -> None:
    """However long one waits."""
    [one] = found(lambda server: 3 if asked_to_run(server) else 2)
    assert one.is_wrong
    assert "goes on" in one.what


def test_a_run_that_nobody_has_seen() -> None:
    """Nothing can be said of it, and nothing is."""
    [one] = found(lambda _server: 2)
    assert (one.is_good, one.is_wrong) == (False, False)
    assert "no run was seen" in one.what
