"""Processes of this machine, known by a mark in their command line that nobody else's has."""

import os
import secrets
import signal
import time
from contextlib import suppress
from pathlib import Path

# How soon a process is seen, or is no longer: only a machine with no time for us takes seconds.
SEEN_SECONDS = 60.0


def long_sleep() -> str:
    """Seconds for `sleep`: an hour, and digits by which this one is told from all others."""
    return f"3600.{secrets.randbelow(10**12):012}"


def processes_with(text: str) -> dict[int, str]:
    """The living processes whose command lines hold `text`, but for ours."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if text in line and state != "Z" and int(folder.name) != os.getpid():
            found[int(folder.name)] = line
    return found


def wait_for_start(text: str) -> None:
    """Block until a process of that name runs; the event loop, too, if there is one."""
    deadline = time.monotonic() + SEEN_SECONDS
    while not any(line.startswith(text) for line in processes_with(text).values()):
        assert time.monotonic() < deadline, f"never started: {text}"
        time.sleep(0.01)


def assert_gone(text: str) -> None:
    """No process that holds `text` is left, or soon none."""
    deadline = time.monotonic() + SEEN_SECONDS
    while left := processes_with(text):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def end_all_with(text: str) -> None:
    """Kill what a test has let escape."""
    for pid in processes_with(text):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
