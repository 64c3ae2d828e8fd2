"""What the runner costs beside a bare Claude Code, and the gateway beside the runner.

    make bench            all of it
    make bench QUICK=1    fewer rounds

All are measured in turn in this one run, with the same scripted model behind them. Bare is
`claude -p --output-format stream-json --include-partial-messages`, `/run` is the runner's, a
session the gateway's in front of it. What is over its bound is marked, and the exit status is 1.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import servers
from intake import intake
from issues import first_comment
from report import Figure, Row, report
from sessions import SETTINGS, first_answer, replay, together, writes
from timing import at_once, bare, memory, session, through

DELTAS = 20_000
AT_ONCE = 16

SHORT = servers.scenario(servers.say("word and that is all."))
LONG = servers.scenario({"blocks": [{"type": "text", "text": "word ", "repeat": DELTAS}]})


def main() -> int:
    """Measure, print tables, judge."""
    rounds, streamed = streams(3 if os.environ.get("QUICK") else 10)
    figures = [*streamed, *crowd(), *deliveries()]
    print(f"load: {os.getloadavg()[0]:.1f}")
    return report(rounds, figures)


def streams(rounds: int) -> tuple[list[Row], list[Figure]]:
    """The same prompts to a bare Claude Code, to the runner and to the gateway, in turn."""
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
    print(f"the runner idle: {idle:.0f} MB")
    return [first, long, many, first_session, long_session], [
        Figure(name="MB of the runner, at most", value=peak, bound=150),
        Figure(name="store writes a second, a session", value=max(written), bound=8),
        Figure(name="ms to api's first answer", value=started * 1000, bound=1_200),
        Figure(name="ms to a replay's first event", value=replayed.first * 1000, bound=100),
        Figure(name="events a second of a replay", value=replayed.rate, bound=20_000, least=True),
    ]


def crowd() -> Iterator[Figure]:
    """Many sessions on one gateway."""
    found = together()
    print(f"50 sessions of 3 s at once: {found.seconds:.1f} s")
    yield Figure(name="MB of the gateway, 50 sessions", value=found.memory, bound=400)


def deliveries() -> Iterator[Figure]:
    """From GitHub's delivery to its answer, and to the first comment."""
    taken = intake()
    share = taken.ratio * 100
    yield Figure(name="% of an empty function, intake", value=share, bound=30, least=True)
    yield Figure(name="ms of the intake, p99 of 50", value=taken.p99 * 1000, bound=250)
    yield Figure(name="ms of the intake, p99 of 200", value=taken.burst_p99 * 1000, bound=2_000)
    yield Figure(name="seconds to an issue's first comment", value=first_comment(), bound=3)


if __name__ == "__main__":
    sys.exit(main())
