"""What it costs to take a delivery in for good, beside a function that does nothing."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import github_events
import servers
from load import Load, drive

WEAKENED = Path(servers.__file__).parent / "doubles" / "weakened_gateway.py"
CONNECTIONS = 50
DELIVERIES = 1_500
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


def measure(url: str, requests: list[bytes]) -> Load:
    """All of them, answered 200."""
    load = drive(url, iter(requests), connections=CONNECTIONS)
    assert load.statuses == {200: len(requests)}, load.statuses  # noqa: S101
    return load


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
