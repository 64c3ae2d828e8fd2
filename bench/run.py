"""What `POST /run` costs beside a bare Claude Code, both measured in turn in this one run.

    make bench            all of it
    make bench QUICK=1    fewer rounds

Bare is `claude -p --output-format stream-json --include-partial-messages`, with the same scripted
model behind it. A ratio over its bound is marked, and the exit status is 1.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx2

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import claude_agent_sdk

import servers

CLI = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
DELTAS = 20_000
AT_ONCE = 16

BOUNDS = {"first text": 1.25, "20,000 deltas": 1.15, "16 at once": 1.2}
MEMORY_MEGABYTES = 150

SHORT = servers.scenario(servers.say("One sentence, and that is all."))
LONG = servers.scenario({"blocks": [{"type": "text", "text": "word ", "repeat": DELTAS}]})


class Timing:
    """When the first text came and when it was over, in seconds."""

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.first = 0.0
        self.total = 0.0
        self.deltas = 0

    def line(self, line: bytes) -> None:
        """Look at one line of output."""
        if b'"text_delta"' in line:
            self.deltas += 1
            if not self.first:
                self.first = time.monotonic() - self.begin

    def end(self) -> "Timing":
        """It is over."""
        self.total = time.monotonic() - self.begin
        return self


def bare(model: str, prompt: str) -> Timing:
    """One bare Claude Code."""
    with tempfile.TemporaryDirectory() as home:
        timing = Timing()
        process = subprocess.Popen(
            [
                CLI,
                "-p",
                "--output-format",
                "stream-json",
                "--include-partial-messages",
                "--verbose",
            ],
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


def through(runner: str, prompt: str) -> Timing:
    """One `POST /run`, read as a client reads."""
    timing = Timing()
    with (
        httpx2.Client(timeout=120, trust_env=False) as client,
        client.stream("POST", f"{runner}/run", json={"prompt": prompt}) as answer,
    ):
        rest = b""
        for chunk in answer.iter_raw():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                timing.line(line)
    return timing.end()


def at_once(work: Callable[[], Timing]) -> float:
    """Wall seconds of AT_ONCE of them."""
    results: list[Timing] = []
    begin = time.monotonic()
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == AT_ONCE  # noqa: S101
    assert all(timing.deltas for timing in results)  # noqa: S101
    return time.monotonic() - begin


def main() -> int:
    """Measure, print a table, judge."""
    rounds = 3 if os.environ.get("QUICK") else 10
    rows: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in BOUNDS}
    with servers.scripted_model() as model, servers.running_runner(model.url) as runner:
        bare(model.url, SHORT)
        through(runner.url, SHORT)
        idle = memory(runner.pid)
        for number in range(rounds):
            rows["first text"][0].append(bare(model.url, SHORT).first)
            rows["first text"][1].append(through(runner.url, SHORT).first)
            if number % 2 == 0:
                for column, timing in enumerate((bare(model.url, LONG), through(runner.url, LONG))):
                    assert timing.deltas == DELTAS, timing.deltas  # noqa: S101
                    rows["20,000 deltas"][column].append(timing.total)
            if number % 3 == 0:
                rows["16 at once"][0].append(at_once(lambda: bare(model.url, SHORT)))
                rows["16 at once"][1].append(at_once(lambda: through(runner.url, SHORT)))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
        peak = memory(runner.pid, "VmHWM")
    return report(rows, idle, peak)


def memory(pid: int, field: str = "VmRSS") -> float:
    """Megabytes of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def report(rows: dict[str, tuple[list[float], list[float]]], idle: float, peak: float) -> int:
    """Print medians and ratios. Returns the exit status."""
    failed = peak > MEMORY_MEGABYTES
    print(f"{'median seconds':<16}{'bare':>8}{'/run':>8}{'ratio':>8}{'bound':>8}")
    figures = {}
    for name, (bare_times, run_times) in rows.items():
        plain, run = statistics.median(bare_times), statistics.median(run_times)
        ratio = run / plain
        failed |= ratio > BOUNDS[name]
        mark = "" if ratio <= BOUNDS[name] else "  over"
        print(f"{name:<16}{plain:>8.2f}{run:>8.2f}{ratio:>8.2f}{BOUNDS[name]:>8.2f}{mark}")
        figures[name] = {"bare": plain, "run": run, "ratio": ratio}
    print(f"memory of the runner: {idle:.0f} MB idle, {peak:.0f} MB at most (bound 150)")
    print(json.dumps(figures))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
