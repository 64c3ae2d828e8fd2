"""One run, timed: bare Claude Code, `POST /run`, and a session of the gateway."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import claude_agent_sdk
import httpx2

import servers

CLI = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
# Made once, as callers do: a new client reads the machine's certificates, 50 ms of them.
CLIENT = httpx2.Client(timeout=120, trust_env=False)


class Timing:
    """When the first text came and when it was over, in seconds; and the words that came."""

    def __init__(self, mark: bytes, word: bytes) -> None:
        self._mark = mark
        self._word = word
        self.begin = time.monotonic()
        self.first = 0.0
        self.total = 0.0
        self.words = 0

    def line(self, line: bytes) -> None:
        """Look at one line of output."""
        if self._mark in line:
            self.words += line.count(self._word)
            if not self.first:
                self.first = time.monotonic() - self.begin

    def end(self) -> "Timing":
        """It is over."""
        self.total = time.monotonic() - self.begin
        return self


def bare(model: str, prompt: str) -> Timing:
    """One bare Claude Code."""
    options = ("--output-format", "stream-json", "--include-partial-messages", "--verbose")
    with tempfile.TemporaryDirectory() as home:
        timing = Timing(b'"text_delta"', b"word ")
        process = subprocess.Popen(
            [CLI, "-p", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=home,
            env={
                "PATH": os.environ["PATH"],
                "HOME": home,
                "ANTHROPIC_BASE_URL": model,
                "ANTHROPIC_API_KEY": servers.PLANTED_KEY,
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "DISABLE_AUTOUPDATER": "1",
            },
        )
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(prompt.encode())
        process.stdin.close()
        for line in process.stdout:
            timing.line(line)
        process.wait()
        return timing.end()


def through(url: str, prompt: str) -> Timing:
    """One `POST /run`, of a runner or of a gateway."""
    timing = Timing(b'"text_delta"', b"word ")
    return _read(timing, f"{url}/run", {"prompt": prompt})


def session(url: str, prompt: str) -> Timing:
    """One session of a gateway, to the end of its turn."""
    # The event's data: text that came within a moment is one event.
    timing = Timing(b'data: {"turn":1,"content":', b"word ")
    return _read(timing, f"{url}/interactive/start", {"prompt": prompt})


def _read(timing: Timing, url: str, body: Mapping[str, Any]) -> Timing:
    with CLIENT.stream("POST", url, json=body) as answer:
        assert answer.status_code == 200, answer.read()  # noqa: S101
        rest = b""
        for chunk in answer.iter_raw():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                timing.line(line)
    return timing.end()


def at_once(work: Callable[[], Timing], number: int) -> float:
    """Wall seconds of so many of them."""
    results: list[Timing] = []
    begin = time.monotonic()
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == number  # noqa: S101
    assert all(timing.words for timing in results)  # noqa: S101
    return time.monotonic() - begin


def memory(pid: int, field: str = "VmRSS") -> float:
    """Megabytes of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024
