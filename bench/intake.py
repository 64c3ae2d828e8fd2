"""What it costs to take a delivery in for good, beside a function that does nothing."""

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import github_events
import servers
from load import Load, drive

WEAKENED = Path(servers.__file__).parent / "doubles" / "weakened_gateway.py"
CONNECTIONS = 50
DELIVERIES = 1_000
ROUNDS = 3
# All at once.
BURST = 200
_EMPTY = """
def empty(request):
    return "ok"
"""


@contextmanager
def empty_function() -> Iterator[str]:
    """A function of functions-framework's that looks at nothing."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "main.py"
        source.write_text(_EMPTY)
        command = (
            *(sys.executable, "-m", "functions_framework"),
            *("--source", str(source), "--target", "empty", "--host", "127.0.0.1", "--port", "0"),
        )
        with servers.started(command, environ={"GUNICORN_LOG_LEVEL": "info"}) as server:
            yield server.url


@contextmanager
def webhook_function() -> Iterator[str]:
    """Ours, with a new SQLite file; workers are not started."""
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.running_gateway(
            "",
            Path(folder),
            target="webhook",
            command=(str(WEAKENED), "idle-workers", "--"),
            GITHUB_WEBHOOK_SECRET=github_events.SECRET,
        ) as server,
    ):
        yield server.url


def deliveries(number: int) -> list[bytes]:
    """As many issues, each a new one, as GitHub sends them."""
    return [_request(github_events.opened(issue)) for issue in range(1, number + 1)]


def _request(body: github_events.Json) -> bytes:
    data = github_events.encoded(body)
    fields = github_events.headers("issues", data, delivery=str(uuid4()))
    lines = {"Host": "localhost", "Content-Length": str(len(data)), **fields}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST /webhooks/github HTTP/1.1\r\n{head}\r\n".encode() + data


def measure(url: str, requests: list[bytes], *, connections: int = CONNECTIONS) -> Load:
    """All of them, answered 200."""
    load = drive(url, iter(requests), connections=connections)
    assert load.statuses == {200: len(requests)}, load.statuses  # noqa: S101
    return load


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Ours beside an empty function, each measured in turn; seconds of 50 connections, of 200."""

    ratio: float
    rate: float
    p99: float
    burst_p99: float


def intake() -> Intake:
    """The median of some rounds: what else the machine does is the same to both."""
    requests = deliveries(ROUNDS * DELIVERIES + BURST + 1)
    ratios: list[float] = []
    loads: list[Load] = []
    with empty_function() as empty, webhook_function() as ours:
        # The application comes with a first request.
        measure(empty, requests[-1:])
        measure(ours, requests[-1:])
        for number in range(ROUNDS):
            part = requests[number * DELIVERIES : (number + 1) * DELIVERIES]
            nothing, load = measure(empty, part), measure(ours, part)
            ratios.append(load.rate / nothing.rate)
            loads.append(load)
        burst = measure(ours, requests[-1 - BURST : -1], connections=BURST)
    return Intake(
        ratio=statistics.median(ratios),
        rate=statistics.median(load.rate for load in loads),
        p99=statistics.median(load.percentile(0.99) for load in loads),
        burst_p99=burst.percentile(0.99),
    )
