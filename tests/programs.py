"""The command line as its user has it: a program of its own, with its output read as it comes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from servers import KEPT, REPOSITORY, kill_group

CLAUDE_RUN = str(Path(sys.executable).with_name("claude-run"))
WAIT_SECONDS = 60.0


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a program of ours gets from this machine, and what the test names."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | dict(environ)


def claude_run(*argv: str, stdin: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
    """`claude-run` with pipes, to its end."""
    return subprocess.run(
        [CLAUDE_RUN, *argv],
        input=stdin,
        env=environment(environ),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


@dataclass(slots=True)
class Program:
    """A running `claude-run`, and both its outputs so far."""

    process: "subprocess.Popen[bytes]"
    seen: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.seen.decode("utf-8", "replace")

    def until(self, text: str) -> None:
        """Wait until it has printed this."""
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in self.text:
            assert time.monotonic() < deadline, f"no {text!r} in: {self.text}"
            time.sleep(0.02)

    def end(self, sig: signal.Signals) -> tuple[int, float]:
        """Send a signal; the exit status, and the seconds that it took."""
        started = time.monotonic()
        self.process.send_signal(sig)
        status = self.process.wait(WAIT_SECONDS)
        return status, time.monotonic() - started

    def children(self) -> dict[int, str]:
        """All its descendants, with their command lines."""
        return descendants(self.process.pid)


@contextmanager
def running(
    *argv: str, program: Sequence[str] = (CLAUDE_RUN,), **environ: str
) -> Iterator[Program]:
    """`claude-run` with its output in one pipe, killed at the end if it still runs."""
    process = subprocess.Popen(
        [*program, *argv],
        env=environment(environ),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    started = Program(process)
    reader = threading.Thread(target=_read, args=(started,), daemon=True)
    reader.start()
    try:
        yield started
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(WAIT_SECONDS)
        kill_group(process.pid)
        reader.join(WAIT_SECONDS)
        if process.stdout is not None:
            process.stdout.close()


def _read(program: Program) -> None:
    assert program.process.stdout is not None
    while chunk := os.read(program.process.stdout.fileno(), 65536):
        program.seen += chunk


def descendants(root: int) -> dict[int, str]:
    """Every process below `root`, with its command line."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found: dict[int, str] = {}
    waiting = [root]
    while waiting:
        above = waiting.pop()
        below = [pid for pid, parent in parents.items() if parent == above]
        waiting += below
        found |= {pid: _command(pid) for pid in below}
    return found


def _command(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode("utf-8", "replace").strip()


def still_there(processes: Mapping[int, str]) -> dict[int, str]:
    """Those that run on, after a moment for the kernel to take them away."""
    deadline = time.monotonic() + 2
    while True:
        left = {pid: command for pid, command in processes.items() if _command(pid) == command}
        left = {pid: command for pid, command in left.items() if command}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)
