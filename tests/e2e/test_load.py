"""Many runs at once, and long ones: all finish, each with its own, in bounded memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import MakeRunner

import servers
from servers import post_run, say, scenario, use

pytestmark = pytest.mark.e2e

AT_ONCE = 16
MEMORY_MEGABYTES = 150


@pytest.mark.timeout(240)
def test_sixteen_runs_at_once_each_with_its_own_events(runner: servers.Server) -> None:
    """Text, files, session and user of one never appear in another."""

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
        assert [file["path"] for file in stream.changes["files"]] == ["mine.txt"]
        assert mark in str(stream.tool_results()[1]["content"])
        assert not any(other.encode() in stream.body for other in others)
        assert {m.get("session_id") for m in stream.data("message")} == {
            stream.headers["x-session-id"]
        }
    assert len({stream.headers["x-session-id"] for stream in streams}) == AT_ONCE


def test_memory_does_not_grow_with_the_stream(make_runner: MakeRunner) -> None:
    """After 20,000 deltas, and after 80,000 more, the runner is as small as before."""
    server = make_runner()
    peaks = []
    for deltas in (20_000, 80_000):
        text = {"type": "text", "text": "{{n}} ", "repeat": deltas}
        stream = post_run(server.url, {"prompt": scenario({"blocks": [text]})})
        assert stream.text.split() == [str(n) for n in range(1, deltas + 1)]
        peaks.append(peak_megabytes(server.pid))
    assert max(peaks) < MEMORY_MEGABYTES
    assert peaks[1] - peaks[0] < 10


def peak_megabytes(pid: int) -> float:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
