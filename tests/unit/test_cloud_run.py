"""The runner's readiness, asked of Google's API: the real client before a server of ours."""

import json
from collections.abc import Callable, Iterator

import pytest

from claude_run.errors import Code, ConfigurationError, UpstreamError
from doubles.recording_server import Asked, RecordingServer, recording_server
from gateway.cloud_run import CloudRunService

NAME = "projects/p/locations/europe-west1/services/runner"


@pytest.fixture
def google() -> Iterator[RecordingServer]:
    """What stands for run.googleapis.com."""
    with recording_server() as server:
        yield server


def answering(status: str, value: object) -> Callable[[Asked, Callable[[bytes], None]], None]:
    """Answer everything like this."""
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
    return lambda _asked, send: send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def service(google: RecordingServer) -> CloudRunService:
    """The runner's, there."""
    return CloudRunService.parse(f"{NAME}?endpoint=127.0.0.1:{google.port}")


def test_a_service_that_serves(google: RecordingServer) -> None:
    """Its own condition says so; the service itself is not asked, so no instance starts."""
    condition = {"type": "Ready", "state": "CONDITION_SUCCEEDED"}
    google.script = answering("200 OK", {"name": NAME, "terminalCondition": condition})
    service(google).check_ready()
    assert [asked.line.split()[:2] for asked in google.asked] == [
        ["GET", f"/v2/{NAME}?%24alt=json%3Benum-encoding%3Dint"]
    ]


@pytest.mark.parametrize(
    ("status", "value"),
    [
        ("200 OK", {"name": NAME, "terminalCondition": {"state": "CONDITION_FAILED"}}),
        ("200 OK", {"name": NAME}),
        ("200 OK", {"other": "planted"}),
        ("404 Not Found", {"error": {"code": 404, "message": "planted"}}),
        ("403 Forbidden", {"error": {"code": 403, "message": "planted"}}),
        ("500 Internal Server Error", {}),
        ("200 OK", "planted"),
    ],
)
def test_a_service_that_does_not(google: RecordingServer, status: str, value: object) -> None:
    """Not ready, not there, not to be seen by us; Google's own text is not repeated."""
    google.script = answering(status, value)
    with pytest.raises(UpstreamError) as raised:
        service(google).check_ready()
    assert raised.value.code is Code.UNAVAILABLE
    assert "planted" not in raised.value.message


def test_nobody_answers() -> None:
    """Google cannot be reached."""
    unreachable = CloudRunService.parse(f"{NAME}?endpoint=127.0.0.1:1")
    with pytest.raises(UpstreamError) as raised:
        unreachable.check_ready()
    assert raised.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("text", ["runner", f"{NAME}/x", f"{NAME}?endpoint=evil.test:80", ""])
def test_a_name_that_is_none(text: str) -> None:
    """The full name of a service; another server only on this machine."""
    with pytest.raises(ConfigurationError):
        CloudRunService.parse(text)
