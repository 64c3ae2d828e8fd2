"""What the runner costs beside a bare Claude Code, and the gateway beside the runner.

    make bench            all of it
    make bench QUICK=1    fewer rounds

All are measured in turn in this one run, with the same scripted model behind them. Bare is
`claude -p --output-format stream-json --include-partial-messages`, `/run` is the runner's, a
session the gateway's in front of it. What is over its bound is marked, and the exit status is 1.
"""

import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import servers
from sessions import SETTINGS, first_answer, replay, together, writes
from timing import at_once, bare, memory, session, through

DELTAS = 20_000
AT_ONCE = 16

SHORT = servers.scenario(servers.say("word and that is all."))
LONG = servers.scenario({"blocks": [{"type": "text", "text": "word ", "repeat": DELTAS}]})


@dataclass(slots=True)
class Row:
    """Two columns of seconds, the second at most `bound` times the first."""

    name: str
    columns: tuple[str, str]
    bound: float
    first: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)

    def add(self, first: float, second: float) -> None:
        """One measurement of each."""
        self.first.append(first)
        self.second.append(second)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number, and the bound that it is to keep."""

    name: str
    value: float
    bound: float
    least: bool = False

    @property
    def over(self) -> bool:
        """Whether it does not keep it."""
        return self.value < self.bound if self.least else self.value > self.bound


def main() -> int:
    """Measure, print tables, judge."""
    rounds = 3 if os.environ.get("QUICK") else 10
    first = Row("first text", ("bare", "/run"), 1.25)
    long = Row("20,000 deltas", ("bare", "/run"), 1.15)
    many = Row("16 at once", ("bare", "/run"), 1.2)
    first_session = Row("first text", ("/run", "session"), 1.25)
    long_session = Row("20,000 deltas", ("/run", "session"), 1.2)
    written: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.scripted_model() as model,
        servers.running_runner(model.url) as runner,
        servers.running_gateway(runner.url, Path(folder), **SETTINGS) as gateway,
    ):
        bare(model.url, SHORT)
        through(runner.url, SHORT)
        session(gateway.url, SHORT)
        idle = memory(runner.pid)
        for number in range(rounds):
            short = bare(model.url, SHORT), through(runner.url, SHORT), session(gateway.url, SHORT)
            first.add(short[0].first, short[1].first)
            first_session.add(short[1].first, short[2].first)
            if number % 2 == 0:
                whole = bare(model.url, LONG), through(runner.url, LONG), session(gateway.url, LONG)
                assert [timing.words for timing in whole] == [DELTAS] * 3  # noqa: S101
                long.add(whole[0].total, whole[1].total)
                long_session.add(whole[1].total, whole[2].total)
            if number % 3 == 0:
                many.add(
                    at_once(lambda: bare(model.url, SHORT), AT_ONCE),
                    at_once(lambda: through(runner.url, SHORT), AT_ONCE),
                )
                written.append(writes(gateway.url, Path(folder)))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
        peak = memory(runner.pid, "VmHWM")
        replayed = replay(runner.url)
        started = min(first_answer(runner.url) for _ in range(3))
    crowd = together()
    figures = [
        Figure(name="MB of the runner, at most", value=peak, bound=150),
        Figure(name="store writes a second, a session", value=max(written), bound=8),
        Figure(name="ms to api's first answer", value=started * 1000, bound=1_200),
        Figure(name="ms to a replay's first event", value=replayed.first * 1000, bound=100),
        Figure(name="events a second of a replay", value=replayed.rate, bound=20_000, least=True),
        Figure(name="MB of the gateway, 50 sessions", value=crowd.memory, bound=400),
    ]
    rows = [first, long, many, first_session, long_session]
    print(f"the runner idle: {idle:.0f} MB; 50 sessions of 3 s at once: {crowd.seconds:.1f} s")
    print(f"load: {os.getloadavg()[0]:.1f}")
    return report(rows, figures)


def report(rows: list[Row], figures: list[Figure]) -> int:
    """Print medians, ratios and figures. Returns the exit status."""
    failed = False
    found: dict[str, dict[str, float]] = {}
    print(f"{'median seconds':<16}{'':>8}{'':>10}{'ratio':>8}{'bound':>8}")
    for row in rows:
        plain, other = statistics.median(row.first), statistics.median(row.second)
        ratio = other / plain
        failed |= ratio > row.bound
        mark = "" if ratio <= row.bound else "  over"
        times = f"{row.columns[0]} {plain:.2f}", f"{row.columns[1]} {other:.2f}"
        print(f"{row.name:<16}{times[0]:>12}{times[1]:>14}{ratio:>8.2f}{row.bound:>8.2f}{mark}")
        name = f"{row.name}, {row.columns[1]}"
        found[name] = {row.columns[0]: plain, row.columns[1]: other, "ratio": ratio}
    for figure in figures:
        failed |= figure.over
        side, mark = "≥" if figure.least else "≤", "  over" if figure.over else ""
        print(f"{figure.name:<36}{figure.value:>10.1f}  {side} {figure.bound:g}{mark}")
        found[figure.name] = {"value": figure.value}
    print(json.dumps(found))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
