"""However a run is ended, its last events are told and nothing of it is left."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import MakeRunner

import servers
from leftovers import left_behind
from servers import Stream, post_run, scenario, use

pytestmark = pytest.mark.e2e

# A daemon in a session of its own that ignores SIGTERM, and a foreground that waits.
STAY = (
    "setsid bash -c 'trap \"\" TERM; sleep 300 & sleep 300' >/dev/null 2>&1 & "
    "echo w > {{cwd}}/written.txt; sleep 300"
)


def staying(**fields: object) -> dict[str, Any]:
    """A run that writes a file, leaves a daemon and does not end."""
    return {
        "prompt": scenario(use("Bash", command=STAY, timeout=600_000)),
        "allowedTools": ["Bash"],
        **fields,
    }


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.02)


def written(server: servers.Server) -> list[Path]:
    """Files by which a staying run of this server shows that its command runs."""
    runs = Path("/tmp").glob(f"claude-run-{server.pid}-*")
    sessions = [run.name.split("-", 3)[3] for run in runs]
    files = [Path(f"/tmp/ws-{session}/written.txt") for session in sessions]
    return [file for file in files if file.exists() and file.stat().st_size]


def test_a_run_past_its_time(runner: servers.Server) -> None:
    """TIMEOUT, after the change set, within the time and a little more; as one object it is 408."""
    before = left_behind()
    begin = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        accept = {"Accept": "application/json"}
        object_ = pool.submit(post_run, runner.url, staying(timeoutMinutes=0.08), headers=accept)
        stream = post_run(runner.url, staying(timeoutMinutes=0.08))
        assert time.monotonic() - begin < 2 * (0.08 * 60 + 4)
        answer = object_.result()
    assert [event.event for event in stream.events][-3:] == ["changes", "error", "done"]
    assert stream.error is not None
    assert stream.error["code"] == "TIMEOUT"
    assert stream.error["details"] == {"timeoutMinutes": 0.08}
    assert [file["path"] for file in stream.changes["files"]] == ["written.txt"]
    assert answer.status == 408
    assert b'"TIMEOUT"' in answer.body
    assert not left_behind() - before


@contextmanager
def calling(server: servers.Server, body: dict[str, Any], **headers: str) -> Iterator[None]:
    """A caller of `POST /run` who reads nothing, and leaves with the block."""
    request = httpx2.Request("POST", f"{server.url}/run", json=body, headers=headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as raw:
        raw.sendall(f"POST /run HTTP/1.1\r\n{head}\r\n".encode() + request.content)
        yield


def test_a_caller_who_leaves_ends_the_run(runner: servers.Server) -> None:
    """Of a stream and of one object: the process group dies, the daemon too, the folders go."""
    before = left_behind()
    with (
        calling(runner, staying()),
        calling(runner, staying(), accept="application/json"),
    ):
        wait_for(lambda: len(written(runner)) == 2)
    wait_for(lambda: not left_behind() - before)


def test_a_caller_who_leaves_during_the_clone(runner: servers.Server) -> None:
    """git dies too."""
    before = left_behind()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a/b"
        with calling(runner, {"prompt": "x", "repository": {"url": url}}):
            asked, _ = silent.accept()
        wait_for(lambda: not left_behind() - before)
        asked.close()


class Background:
    """`POST /run` in a thread."""

    def __init__(self, url: str, body: dict[str, Any]) -> None:
        self.stream: Stream | None = None
        self._thread = threading.Thread(target=self._run, args=(url, body))
        self._thread.start()

    def _run(self, url: str, body: dict[str, Any]) -> None:
        self.stream = post_run(url, body)

    def join(self, seconds: float) -> Stream:
        """The whole answer."""
        self._thread.join(seconds)
        assert self.stream is not None
        return self.stream


def test_sigterm_tells_and_ends_everything(make_runner: MakeRunner) -> None:
    """Within 8 s: SHUTDOWN with the change set, `done`, and no process of the runner or a run."""
    server = make_runner()
    before = left_behind()
    run = Background(server.url, staying())
    wait_for(lambda: written(server))
    begin = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    stream = run.join(16)
    assert stream.error is not None
    assert stream.error["code"] == "SHUTDOWN"
    assert [file["path"] for file in stream.changes["files"]] == ["written.txt"]
    assert stream.events[-1].event == "done"
    assert server.process.wait(16) is not None
    assert time.monotonic() - begin < 8
    assert not left_behind() - before


def test_a_runner_that_is_killed_leaves_no_process(make_runner: MakeRunner) -> None:
    """SIGKILL of the runner: the launcher sees its parent die, and kills the run."""
    server = make_runner()
    before = left_behind()
    client = httpx2.Client(trust_env=False, timeout=60)
    with client.stream("POST", f"{server.url}/run", json=staying()) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        wait_for(lambda: written(server))
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(httpx2.TransportError):
            for _ in chunks:
                pass
    client.close()
    wait_for(lambda: all(found.startswith("/tmp/") for found in left_behind() - before))
    for folder in left_behind() - before:
        # On Cloud Run the instance, and its disk in memory, is gone with the runner.
        servers.remove(Path(folder))
