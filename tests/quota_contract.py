"""What limits and quota hold under races: one suite, run on each store.

A test class derives from `RaceContract` and gives the fixture `url`.
"""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from gateway.limit_settings import MICROS, LimitSettings
from gateway.limits import Limits
from gateway.sessions.record import Usage
from gateway.store import Store, ping
from quota_steps import (
    EDGE,
    LEASE,
    NEXT,
    NOON,
    TEN_A_MINUTE,
    THREE_SESSIONS,
    TWELVE_DOLLARS,
    is_taken,
    opened,
    renew,
    settle,
    shown,
    start,
)
from store_contract import all_at_once


def in_processes(number: int, what: str, url: str, times: int) -> int:
    """What that many children have been given together, racing from one moment on."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "quota_child", what, url, str(which), str(times)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for which in range(number)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        said = [child.communicate(timeout=90)[0] for child in children]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    return sum(map(int, said))


class RaceContract:
    """The suite. In races of processes, each tries often enough for some to be refused."""

    processes = 4
    calls = 16
    starts = 4

    @pytest.fixture
    def store(self, url: str) -> Iterator[Store]:
        """An empty store."""
        store = opened(url)
        ping(store, seconds=5)
        yield store
        store.close()

    # Limits

    def test_of_fifty_racing_calls_exactly_the_allowed_pass(self, store: Store) -> None:
        """Ten, from threads that start together; refusals have counted nothing."""
        limits = Limits(store, TEN_A_MINUTE)
        assert sum(all_at_once(50, lambda _: is_taken(limits, NOON))) == 10
        assert not is_taken(limits, NOON)
        assert is_taken(Limits(store, LimitSettings(per_minute=11)), NOON)
        assert not is_taken(Limits(store, LimitSettings(per_minute=11)), NOON)

    def test_at_the_edge_of_every_window(self, store: Store) -> None:
        """Racing calls on both sides of midnight: ten of each side pass, whatever the order."""
        settings = LimitSettings(per_minute=10, per_hour=10, per_day=10)

        def call(which: int) -> bool:
            return is_taken(Limits(store, settings), NEXT if which % 2 else EDGE)

        passed = all_at_once(50, call)
        assert [sum(passed[0::2]), sum(passed[1::2])] == [10, 10]

    def test_racing_processes_pass_exactly_the_allowed(self, store: Store, url: str) -> None:
        """Nothing but the store connects them."""
        assert in_processes(self.processes, "take", url, self.calls) == 10
        assert not is_taken(Limits(store, TEN_A_MINUTE), NOON)

    # Quota

    def test_racing_starts_never_pass_the_slots(self, store: Store) -> None:
        """Three of twenty."""
        started = all_at_once(20, lambda which: start(store, THREE_SESSIONS, f"run-{which}"))
        assert sum(reservation is not None for reservation in started) == 3
        assert shown(store, THREE_SESSIONS)["activeSessions"] == 3

    def test_racing_starts_never_pass_the_budget(self, store: Store) -> None:
        """Two get five dollars, one gets the two that are left, the others nothing."""
        started = all_at_once(20, lambda which: start(store, TWELVE_DOLLARS, f"run-{which}"))
        budgets = [reservation.reserved.usd for reservation in started if reservation]
        assert sorted(budgets) == [2.0, 5.0, 5.0]

    def test_racing_processes_never_pass_the_slots(self, store: Store, url: str) -> None:
        """Three runs start, in whichever."""
        assert in_processes(self.processes, "start", url, self.starts) == 3
        assert shown(store, THREE_SESSIONS)["activeSessions"] == 3

    def test_starts_and_ends_that_race_add_up(self, store: Store) -> None:
        """Eight threads, five runs each, which report, end and are ended twice: nothing is lost."""
        settings = LimitSettings(sessions=8, daily_micros=1_000 * MICROS, daily_tokens=10**9)

        def work(which: int) -> None:
            for number in range(5):
                run_id = f"run-{which}-{number}"
                assert start(store, settings, run_id)
                renew(store, settings, run_id, Usage(output_tokens=10, cost_usd=0.1))
                for _ in range(2):
                    settle(store, settings, run_id, Usage(output_tokens=20, cost_usd=0.3))

        all_at_once(8, work)
        figures = shown(store, settings)
        assert figures["activeSessions"] == 0
        assert (figures["dailyTokens"], figures["dailyCost"]) == (800, 12.0)

    def test_a_crash_frees_its_slot_when_its_lease_has_ended(self, store: Store, url: str) -> None:
        """Processes that die with their runs: full until the lease ends; what was logged stays."""
        assert in_processes(self.processes, "crash", url, self.starts) == 3
        early = NOON + LEASE - timedelta(microseconds=1)
        assert start(store, THREE_SESSIONS, "next", now=early) is None
        started = all_at_once(
            12, lambda n: start(store, THREE_SESSIONS, f"next-{n}", now=NOON + LEASE)
        )
        assert sum(reservation is not None for reservation in started) == 3
        assert shown(store, THREE_SESSIONS, NOON + LEASE)["dailyCost"] == 3 * 1.25
