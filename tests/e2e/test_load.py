"""Many runs at once, and long ones: all finish, each with its own, in bounded memory."""

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import MakeRunner

import servers
from servers import post_run, say, scenario, use

pytestmark = pytest.mark.e2e

AT_ONCE = 16  # what they take is measured in the benchmark
MEMORY_MEGABYTES = 150
# Some 9 MB: more than fits between runner and client. Claude Code has soon said them all, and at
# its end drops what nobody has read within seconds: so the runner has to take them from it.
DELTAS = 30_000
STALL_SECONDS = 30.0


@pytest.mark.timeout(240)
def test_many_runs_at_once_each_with_its_own_events(make_runner: MakeRunner) -> None:
    """Text, files, session and user of one never appear in another."""
    runner = make_runner()
    # So many agents would starve whatever else is tested on this machine.
    runner.give_way()

    def one(number: int) -> servers.Stream:
        mark = f"mark-{number:02d}-end"
        return post_run(
            runner.url,
            {
                "prompt": scenario(
                    use("Write", file_path="{{cwd}}/mine.txt", content=mark),
                    use("Bash", command="cat mine.txt; ls -A; id -u"),
                    say(mark),
                ),
                "allowedTools": ["Write", "Bash"],
            },
        )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        streams = list(pool.map(one, range(AT_ONCE)))
    for number, stream in enumerate(streams):
        mark = f"mark-{number:02d}-end"
        others = [f"mark-{other:02d}-end" for other in range(AT_ONCE) if other != number]
        assert stream.error is None
        assert stream.text == mark
        assert mark in str(stream.tool_results()[1]["content"])
        assert [file["path"] for file in stream.changes["files"]] == ["mine.txt"]
        assert not any(other.encode() in stream.body for other in others)
        assert {m.get("session_id") for m in stream.data("message")} == {
            stream.headers["x-session-id"]
        }
    assert len({stream.headers["x-session-id"] for stream in streams}) == AT_ONCE


@pytest.mark.timeout(240)
def test_memory_is_bounded_however_much_comes_and_waits(make_runner: MakeRunner) -> None:
    """A client that reads nothing for 30 s misses nothing, though Claude Code ends meanwhile.

    And the runner stays as small as after a short stream.
    """
    server = make_runner()
    assert words(post_run(server.url, counting(2_000)).body) == list(range(1, 2_001))
    before = peak_megabytes(server.pid)
    request = httpx2.Request("POST", f"{server.url}/run", json=counting(DELTAS))
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.socket() as raw:
        # The kernel would keep megabytes for us.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        raw.settimeout(60)
        raw.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        raw.sendall(f"POST /run HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
        raw.sendall(request.content)
        raw.recv(1)
        time.sleep(STALL_SECONDS)
        parts = []
        while chunk := raw.recv(1 << 20):
            parts.append(chunk)
    body = unchunked(b"".join(parts))
    assert words(body) == list(range(1, DELTAS + 1))
    assert body.rstrip().endswith(b"data: [DONE]")
    peak = peak_megabytes(server.pid)
    assert peak < MEMORY_MEGABYTES
    assert peak - before < 10


def counting(deltas: int) -> dict[str, Any]:
    """A run that says so many numbers."""
    block = {"type": "text", "text": "{{n}} ", "repeat": deltas}
    return {"prompt": scenario({"blocks": [block]})}


def words(body: bytes) -> list[int]:
    """The numbers that came in deltas."""
    found = re.findall(rb'"text_delta","text":"(\d+) "', body)
    return [int(number) for number in found]


def unchunked(received: bytes) -> bytes:
    """The body of a chunked HTTP answer."""
    body = received.partition(b"\r\n\r\n")[2]
    parts: list[bytes] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return b"".join(parts)
        parts.append(body[:length])
        body = body[length + 2 :]


def peak_megabytes(pid: int) -> float:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
