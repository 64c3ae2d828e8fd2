"""Starting workers: as children of this process, and as executions of a Cloud Run job."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from claude_run.errors import Code, ConfigurationError, UpstreamError
from doubles.recording_server import Asked, recording_server
from gateway.work.children import ProcessStarter
from gateway.work.jobs import JobStarter

JOB = "projects/p/locations/europe-west1/jobs/worker"
# Notes that it began, and waits for a file of its number, or for a signal.
CHILD = """
import os, pathlib, sys, time
import gateway.work.record
folder = pathlib.Path(sys.argv[1])
own = folder / f"{os.getpid()}"
own.write_text(f"{os.getsid(0)} {os.getpgid(0)}")
while not (folder / f"{os.getpid()}.end").exists():
    time.sleep(0.02)
"""


class Children:
    """Real processes that live until they are told to end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environ = {"PATH": os.environ["PATH"]}
        self.starter = ProcessStarter(environ, arguments=("-c", CHILD, str(folder)))

    @property
    def begun(self) -> set[int]:
        """The processes that have ever begun."""
        return {int(path.name) for path in self.folder.iterdir() if path.suffix == ""}

    def until(self, number: int) -> set[int]:
        """Wait for so many to have begun."""
        until(lambda: len(self.begun) >= number)
        return self.begun

    def end(self, pid: int) -> None:
        """Let one end by itself."""
        (self.folder / f"{pid}.end").touch()


def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(pid: int) -> bool:
    """Whether the process is there, zombies included."""
    return Path(f"/proc/{pid}").exists()


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """None yet."""
    made = Children(tmp_path)
    yield made
    made.starter.close()


def test_two_children_at_most_in_sessions_of_their_own(children: Children) -> None:
    """A third is not started beside them; a signal of the terminal reaches none."""
    for _ in range(5):
        children.starter.start()
    for pid in children.until(2):
        session, group = (children.folder / str(pid)).read_text().split()
        assert {int(session), int(group)} == {pid}
    assert len(children.begun) == 2


def test_who_is_busy_is_followed_by_another(children: Children) -> None:
    """Asked for while all were busy: one that ends may have looked for work just before."""
    for _ in range(4):
        children.starter.start()
    first, second = children.until(2)
    children.end(first)
    (third,) = children.until(3) - {first, second}
    until(lambda: not lives(first))
    children.end(second)
    children.end(third)
    until(lambda: not lives(second) and not lives(third))
    assert len(children.begun) == 3
    children.starter.start()
    children.until(4)


def test_they_end_with_whoever_started_them(children: Children) -> None:
    """Told so first; and no other begins after that."""
    for _ in range(3):
        children.starter.start()
    begun = children.until(2)
    children.starter.close()
    until(lambda: not any(lives(pid) for pid in begun))
    children.starter.start()
    assert children.begun == begun


def test_one_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the seconds that a worker may take."""
    monkeypatch.setattr("gateway.work.children.END_SECONDS", 0.3)
    deaf = f"import signal; signal.signal({int(signal.SIGTERM)}, signal.SIG_IGN)\n{CHILD}"
    starter = ProcessStarter(
        {"PATH": os.environ["PATH"]}, arguments=("-c", deaf, str(tmp_path)), most=1
    )
    starter.start()
    until(lambda: any(tmp_path.iterdir()))
    (path,) = tmp_path.iterdir()
    starter.close()
    until(lambda: not lives(int(path.name)))


def test_what_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours, not of the operating system's."""
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(UpstreamError) as raised:
        ProcessStarter({}).start()
    assert raised.value.code is Code.UNAVAILABLE


@contextmanager
def google(status: str, body: bytes = b"{}") -> Iterator[tuple[JobStarter, list[Asked]]]:
    """The starter of a job, before what stands for run.googleapis.com."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
    answer = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with recording_server(lambda _asked, send: send(answer)) as server:
        yield JobStarter.parse(f"{JOB}?endpoint=127.0.0.1:{server.port}"), server.asked


def test_an_execution_is_started_without_arguments() -> None:
    """By the job's own name; nothing of it is overridden, so the invoker's role is enough."""
    with google("200 OK", b'{"name": "operations/x"}') as (starter, asked):
        starter.start()
    (call,) = asked
    assert call.line.split()[:2] == ["POST", f"/v2/{JOB}:run?%24alt=json%3Benum-encoding%3Dint"]
    assert call.body in (b"", b"{}")


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "429 Slow", "500 Broken"])
def test_a_refusal_of_googles_is_ours(status: str) -> None:
    """Not tried again here, and not repeated in words."""
    with (
        google(status, b'{"error": {"message": "planted"}}') as (starter, asked),
        pytest.raises(UpstreamError) as raised,
    ):
        starter.start()
    assert raised.value.code is Code.UNAVAILABLE
    assert "planted" not in raised.value.message
    assert len(asked) == 1


def test_google_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub waits for us meanwhile."""
    monkeypatch.setattr("gateway.work.jobs.CALL_SECONDS", 0.3)
    over = threading.Event()

    def silent(_asked: Asked, _send: Callable[[bytes], None]) -> None:
        over.wait(30)

    with recording_server(silent) as server:
        starter = JobStarter.parse(f"{JOB}?endpoint=127.0.0.1:{server.port}")
        began = time.monotonic()
        with pytest.raises(UpstreamError):
            starter.start()
        # GitHub waits for ten; this server gives up only after thirty.
        assert time.monotonic() - began < 10
        over.set()


@pytest.mark.parametrize("text", ["worker", f"{JOB}/x", f"{JOB}?endpoint=evil.test:80", ""])
def test_a_name_that_is_no_jobs(text: str) -> None:
    """The full name of a job; another server only on this machine."""
    with pytest.raises(ConfigurationError):
        JobStarter.parse(text)
