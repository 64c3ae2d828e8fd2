"""Many sessions on one gateway: each whole, in order and its own, in bounded memory."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

import servers
from claude_run import Client
from claude_run.session_events import ClaudeDeltaEvent, SessionEvent
from doubles.light_runner import light_run
from doubles.recording_server import recording_server
from programs import descendants

pytestmark = pytest.mark.e2e

AT_ONCE = 50
WORDS = 100
# One every so often: a session of 3 s, as many events as a model's text makes.
WORD_SECONDS = 0.03
MEMORY_MEGABYTES = 400
# Twice what is promised of a machine that does nothing else.
FIRST_ANSWER_SECONDS = 2.4

# No quota is to end what is measured.
SETTINGS: dict[str, Any] = {
    "MAX_CONCURRENT_SESSIONS": "60",
    "MAX_DAILY_TOKENS": "1000000000",
    "MAX_DAILY_COST_USD": "100000",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What one caller has read of its session, live and once more from the log."""

    live: list[SessionEvent]
    again: list[SessionEvent]


@pytest.mark.timeout(300)
def test_fifty_sessions_at_once_each_whole_and_in_order(tmp_path: Path) -> None:
    """Numbers without a gap, the words of its own prompt, the same again; under 400 MB."""
    together = threading.Barrier(AT_ONCE)

    def words(prompt: str) -> Iterator[str]:
        yield f"{prompt}-0 "
        together.wait(120)
        for number in range(1, WORDS):
            time.sleep(WORD_SECONDS)
            yield f"{prompt}-{number} "

    def one(url: str, number: int) -> Read:
        with Client(url) as client:
            session = client.interactive.start(f"mark{number}")
            return Read(live=list(session.stream()), again=list(session.stream(after=0)))

    with (
        recording_server(light_run(words)) as runner,
        servers.running_gateway(runner.url, tmp_path, **SETTINGS) as gateway,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        found = list(pool.map(lambda number: one(gateway.url, number), range(AT_ONCE)))
        peak = sum(peak_megabytes(pid) for pid in [gateway.pid, *descendants(gateway.pid)])
    for number, read in enumerate(found):
        assert [event.id for event in read.live] == list(range(1, len(read.live) + 1))
        assert [event.terminal for event in read.live] == [False] * (len(read.live) - 1) + [True]
        assert read.live[-1].name == "complete"
        text = "".join(event.content for event in read.live if isinstance(event, ClaudeDeltaEvent))
        assert text.split() == [f"mark{number}-{word}" for word in range(WORDS)]
        assert read.again == read.live
    assert peak < MEMORY_MEGABYTES


def test_the_first_request_is_answered_soon_after_the_start(
    runner: servers.Server, tmp_path: Path
) -> None:
    """Of a process that has just begun: store opened, caller's limits counted.

    Of the processor, which other tests share; what a clock says is the benchmark's.
    """
    with servers.running_gateway(runner.url, tmp_path, target="api") as api:
        answer = httpx2.get(f"{api.url}/interactive", trust_env=False, timeout=30)
        took = sum(processor_seconds(pid) for pid in [api.pid, *descendants(api.pid)])
    assert answer.json() == {"sessions": [], "nextPageToken": None}
    assert took <= FIRST_ANSWER_SECONDS


def processor_seconds(pid: int) -> float:
    """What a process has had of the processors so far, and its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # utime, stime, cutime, cstime of proc(5), whose numbers begin before the name.
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int) -> float:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
