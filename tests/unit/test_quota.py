"""The quota's accounts: what is reserved, renewed, settled and shown; and any history of them."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from claude_run.errors import CallerError, Code
from gateway.ledger import LAPSED_KEPT, MAX_LAPSED, MAX_LEASE, LapsedError, Ledger
from gateway.limit_settings import MICROS, LimitSettings
from gateway.quota import Quota, Wanted, write
from gateway.reservation import NOTHING, Amount, Reservation, amount_of
from gateway.sessions.record import Usage
from gateway.store import Create, Document, Put, Schema, Store, Transaction
from quota_steps import COLLECTIONS, LEASE, NOON, opened, renew, settle, shown, start
from thoroughness import examples

SETTINGS = LimitSettings()
DAY = timedelta(days=1)
LATE = datetime(2026, 11, 22, 23, 59, 50, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = opened(f"sqlite://{tmp_path}/state/gateway.db")
    yield store
    store.close()


def used(tokens: int, usd: float) -> Usage:
    """A usage of so many tokens, in and out."""
    return Usage(input_tokens=tokens // 2, output_tokens=tokens - tokens // 2, cost_usd=usd)


def refusal(store: Store, settings: LimitSettings, now: datetime = NOON) -> CallerError:
    """How a run is refused."""
    with pytest.raises(CallerError) as caught:
        store.transact(
            lambda tx: Quota(settings).reserve(tx, "refused", Wanted(), until=now + LEASE, now=now)
        )
    return caught.value


def crash(store: Store, run_id: str, now: datetime, logged: Usage | None = None) -> Usage:
    """End a run in its driver's place; `logged` is what its log tells."""
    told = logged or Usage()
    return store.transact(lambda tx: Quota(SETTINGS).settle_crashed(tx, run_id, told, now=now))


# What a run gets


@pytest.mark.parametrize(
    ("wanted", "budget", "tokens"),
    [
        (Wanted(), 5.0, 200_000),
        (Wanted(cost_usd=0.25), 0.25, 200_000),
        (Wanted(cost_usd=49.5, tokens=1), 49.5, 1),
        (Wanted(cost_usd=10_000, tokens=10**12), 50.0, 1_000_000),
        (Wanted(cost_usd=1e-9), 0.000_001, 200_000),
        (Wanted(own_key=True), None, None),
        (Wanted(own_key=True, cost_usd=3), None, None),
    ],
)
def test_what_a_run_gets(
    store: Store, wanted: Wanted, budget: float | None, tokens: int | None
) -> None:
    """What it wants, or what the settings say, and never more than is left; nothing of ours with a
    key of its own."""
    reservation = start(store, SETTINGS, "a", wanted)
    assert reservation
    assert (reservation.budget_usd, reservation.max_tokens) == (budget, tokens)


def test_the_last_gets_what_is_left(store: Store) -> None:
    """Of both, after what others used and reserved."""
    assert start(store, SETTINGS, "a", Wanted(cost_usd=20, tokens=900_000))
    settle(store, SETTINGS, "a", used(850_000, 19.5))
    assert start(store, SETTINGS, "b", Wanted(cost_usd=30, tokens=50_000))
    last = start(store, SETTINGS, "c")
    assert last
    assert (last.budget_usd, last.max_tokens) == (0.5, 100_000)


def test_a_run_that_starts_twice_has_one_reservation(store: Store) -> None:
    """Its first answer may have been lost."""
    first = start(store, SETTINGS, "a")
    assert start(store, SETTINGS, "a", Wanted(cost_usd=1)) == first
    assert shown(store, SETTINGS)["activeSessions"] == 1


@pytest.mark.parametrize("run_id", ["", "x" * 201])
def test_a_run_needs_an_id(store: Store, run_id: str) -> None:
    """A mistake of ours, not a caller's."""
    with pytest.raises(ValueError, match="200"):
        start(store, SETTINGS, run_id)


# What is refused


def test_all_slots_are_taken(store: Store) -> None:
    """With a key of one's own too; soon one may be free."""
    for number in range(5):
        assert start(store, SETTINGS, f"run-{number}", Wanted(own_key=number > 2))
    error = refusal(store, SETTINGS)
    assert (error.code, error.http_status) == (Code.QUOTA_EXCEEDED, 429)
    assert error.details == {"exhausted": ["sessions"]}
    assert error.headers == {"Retry-After": "30"}
    assert error.message == (
        "The quota is exhausted: all 5 sessions are running. Try again in 30 s."
    )
    assert start(store, SETTINGS, "own", Wanted(own_key=True)) is None
    settle(store, SETTINGS, "run-0", Usage())
    assert start(store, SETTINGS, "own", Wanted(own_key=True))


def test_the_day_is_used_up(store: Store) -> None:
    """Until midnight, UTC, in whole seconds; what is exhausted is named, all of it."""
    now = datetime(2026, 11, 22, 23, 0, 0, 500_000, tzinfo=UTC)
    assert start(store, SETTINGS, "a", Wanted(cost_usd=50, tokens=1_000_000), now)
    settle(store, SETTINGS, "a", used(1_000_001, 50.01), now)
    error = refusal(store, SETTINGS, now)
    assert error.details == {"exhausted": ["tokens", "cost"]}
    assert error.headers == {"Retry-After": "3600"}
    assert "today's 1000000 tokens are used, today's 50 USD are used." in error.message
    assert start(store, SETTINGS, "own", Wanted(own_key=True), now)
    assert start(store, SETTINGS, "b", now=now + timedelta(hours=1))


def test_what_is_only_reserved_may_come_back_soon(store: Store) -> None:
    """Then nobody is told to wait until midnight."""
    assert start(store, SETTINGS, "a", Wanted(cost_usd=50))
    error = refusal(store, SETTINGS)
    assert error.details == {"exhausted": ["cost"]}
    assert error.headers == {"Retry-After": "30"}
    assert "today's 50 USD are used or reserved" in error.message


def test_a_refusal_leaves_no_trace(store: Store) -> None:
    """Neither of itself nor of what was to be written with it."""
    settings = LimitSettings(sessions=1)
    assert start(store, settings, "a")
    before = store.get("quota/running")

    def work(tx: Transaction) -> None:
        Quota(settings).reserve(tx, "b", Wanted(), until=NOON + LEASE, now=NOON)
        tx.write(Create("limits/never", {"expireAt": NOON + DAY}))

    with pytest.raises(CallerError):
        store.transact(work)
    assert store.get("quota/running") == before
    assert store.get("limits/never") is None


# What a run has used


def test_what_was_used_takes_the_place_of_what_was_reserved(store: Store) -> None:
    """Once, however often it is settled."""
    assert start(store, SETTINGS, "a")
    renew(store, SETTINGS, "a", used(10, 0.1))
    assert shown(store, SETTINGS)["dailyTokens"] == 10
    for _ in range(3):
        settle(store, SETTINGS, "a", used(30, 0.3))
    assert shown(store, SETTINGS) == {
        "dailyTokens": 30,
        "maxDailyTokens": 1_000_000,
        "remainingTokens": 999_970,
        "dailyCost": 0.3,
        "maxDailyCost": 50.0,
        "remainingCost": 49.7,
        "activeSessions": 0,
        "maxConcurrentSessions": 5,
        "allowed": True,
    }


def test_why_no_run_could_start_is_shown(store: Store) -> None:
    """`reason` is there only then; what is left is not below nothing."""
    settings = LimitSettings(daily_micros=MICROS)
    assert start(store, settings, "a")
    settle(store, settings, "a", used(1, 1.5))
    figures = shown(store, settings)
    assert not figures["allowed"]
    assert "1 USD" in figures["reason"]
    assert (figures["dailyCost"], figures["remainingCost"]) == (1.5, 0.0)


def test_a_key_of_ones_own_costs_the_deployment_nothing(store: Store) -> None:
    """Only its slot; its usage is kept for the session."""
    assert start(store, SETTINGS, "a", Wanted(own_key=True))
    renew(store, SETTINGS, "a", used(10**6, 99.0))
    assert shown(store, SETTINGS)["dailyCost"] == 0
    assert crash(store, "a", NOON + LEASE) == used(10**6, 99.0)
    assert shown(store, SETTINGS)["dailyTokens"] == 0


def test_over_midnight(store: Store) -> None:
    """It settles on the day it reserved, and holds its slot on both."""
    settings = LimitSettings(sessions=1, daily_micros=5 * MICROS)
    assert start(store, settings, "a", now=LATE)
    after = LATE + timedelta(seconds=20)
    renew(store, settings, "a", used(10, 1.0), after)
    assert shown(store, settings, after)["dailyTokens"] == 0
    assert shown(store, settings, after)["activeSessions"] == 1
    assert start(store, settings, "b", now=after) is None
    settle(store, settings, "a", used(20, 2.0), after)
    second = start(store, settings, "b", now=after)
    assert second
    assert (second.day, second.budget_usd) == (date(2026, 11, 23), 5.0)
    assert shown(store, settings, LATE)["dailyCost"] == 2.0
    found = store.get("quota/2026-11-22")
    assert found is not None
    assert found.data["expireAt"] == datetime(2026, 12, 27, tzinfo=UTC)


def test_figures_never_fall_and_never_break_a_sum(store: Store) -> None:
    """They come from where the agent runs."""
    assert start(store, SETTINGS, "a")
    for figures in (
        used(10, 0.1),
        Usage(input_tokens=-5, output_tokens=-(10**30), cost_usd=-1e300),
        Usage(cost_usd=float("nan")),
        used(4, 0.05),
    ):
        renew(store, SETTINGS, "a", figures)
        shown_now = shown(store, SETTINGS)
        assert (shown_now["dailyTokens"], shown_now["dailyCost"]) == (10, 0.1)
    settle(store, SETTINGS, "a", Usage(input_tokens=10**30, cost_usd=float("inf")))
    assert not shown(store, SETTINGS)["allowed"]


def test_money_is_rounded_up_to_the_millionth() -> None:
    """By its digits, not by what a binary fraction makes of it."""
    costs = {0.0: 0, 1e-9: 1, 2.007: 2_007_000, 0.1: 100_000, 0.300_000_1: 300_001, 7: 7_000_000}
    for usd, micros in costs.items():
        assert amount_of(Usage(cost_usd=usd)) == Amount(micros=micros)


# Leases


def test_a_crash_settles_at_what_was_logged_last(store: Store) -> None:
    """When the lease has ended; whoever finalises it is told what that was, later too.

    Reported or written to its log, whichever is more.
    """
    assert start(store, SETTINGS, "a", Wanted(cost_usd=50))
    renew(store, SETTINGS, "a", used(7, 0.5), NOON + LEASE / 2)
    end = NOON + LEASE / 2 + LEASE
    assert start(store, SETTINGS, "b", now=end - timedelta(microseconds=1)) is None
    later = start(store, SETTINGS, "b", Wanted(cost_usd=50), now=end)
    assert later
    assert later.budget_usd == 49.5
    assert crash(store, "a", end + LEASE, used(9, 0.25)) == used(9, 0.5)
    assert crash(store, "a", end + LEASE, used(9, 0.25)) == Usage()
    figures = shown(store, SETTINGS, end)
    assert (figures["dailyTokens"], figures["dailyCost"]) == (9, 0.5)


def test_who_was_away_too_long_must_stop(store: Store) -> None:
    """Its slot is another's. What it used in the meantime counts all the same."""
    settings = LimitSettings(sessions=1)
    assert start(store, settings, "a")
    end = NOON + LEASE
    assert start(store, settings, "b", now=end)
    with pytest.raises(LapsedError):
        renew(store, settings, "a", used(5, 0.1), end)
    with pytest.raises(LapsedError):
        start(store, settings, "a", now=end)
    settle(store, settings, "a", used(9, 0.2), end)
    figures = shown(store, settings, end)
    assert (figures["dailyTokens"], figures["dailyCost"], figures["activeSessions"]) == (9, 0.2, 1)


def test_whose_share_is_gone_must_stop(store: Store) -> None:
    """A slot is free, but its money has been reserved by another."""
    assert start(store, SETTINGS, "a", Wanted(cost_usd=30))
    end = NOON + LEASE
    assert start(store, SETTINGS, "b", Wanted(cost_usd=30), end)
    with pytest.raises(LapsedError):
        renew(store, SETTINGS, "a", Usage(), end)
    settle(store, SETTINGS, "b", Usage(), end)
    renew(store, SETTINGS, "a", Usage(), end)
    assert shown(store, SETTINGS, end)["activeSessions"] == 1


def test_who_slept_and_lost_nothing_goes_on(store: Store) -> None:
    """As a laptop does, after hours: slot and share are its own again."""
    assert start(store, SETTINGS, "a", Wanted(cost_usd=50))
    woken = NOON + timedelta(hours=9)
    assert shown(store, SETTINGS, woken)["activeSessions"] == 0
    renew(store, SETTINGS, "a", used(5, 1.0), woken)
    assert shown(store, SETTINGS, woken)["activeSessions"] == 1
    assert start(store, SETTINGS, "b", now=woken) is None


def test_who_overspent_and_slept_goes_on(store: Store) -> None:
    """What is gone is gone: it is no reason to stop a run whose reservation adds nothing."""
    settings = LimitSettings(daily_micros=MICROS)
    assert start(store, settings, "a")
    renew(store, settings, "a", used(1, 1.5))
    renew(store, settings, "a", used(1, 1.5), NOON + 2 * LEASE)


def test_a_clock_that_steps_back_gives_nothing_twice(store: Store) -> None:
    """A lease that was seen to end has ended, whatever a clock says later."""
    settings = LimitSettings(sessions=1)
    assert start(store, settings, "a", Wanted(cost_usd=50))
    assert start(store, settings, "b", Wanted(cost_usd=50), NOON + LEASE)
    assert shown(store, settings, NOON)["activeSessions"] == 1
    settle(store, settings, "b", Usage(), NOON)
    assert shown(store, settings, NOON)["allowed"]


def test_a_clock_that_was_far_ahead_takes_no_slot_for_good(store: Store) -> None:
    """A lease that nobody gives is none."""
    settings = LimitSettings(sessions=1)
    assert start(store, settings, "a", now=NOON + 400 * DAY)
    assert start(store, settings, "b", now=NOON)
    longest = Ledger(settings=settings, now=NOON, settled={NOON.date(): NOTHING})
    ledger, _ = longest.reserve("a", Wanted(), lease_until=NOON + MAX_LEASE)
    assert ledger.expire().running == 1


def test_the_lapsed_are_forgotten_in_the_end(store: Store) -> None:
    """After a day, settled; and before, the oldest, when there are too many for a document."""
    assert start(store, SETTINGS, "a")
    renew(store, SETTINGS, "a", used(7, 0.5))
    lapsed = NOON + LEASE
    assert start(store, SETTINGS, "b", now=lapsed)
    settle(store, SETTINGS, "b", Usage(), lapsed + LAPSED_KEPT)
    found = store.get("quota/running")
    assert found is not None
    assert found.data["runs"] == []
    assert shown(store, SETTINGS, NOON)["dailyCost"] == 0.5
    many = {
        f"run-{number}": Reservation(
            run_id=f"run-{number}",
            day=NOON.date(),
            own_key=False,
            reserved=NOTHING,
            lease_until=NOON,
            used=used(1, 0),
            lapsed_at=NOON - timedelta(seconds=number),
        )
        for number in range(MAX_LAPSED + 3)
    }
    ledger = Ledger(settings=SETTINGS, now=NOON, runs=many, settled={NOON.date(): NOTHING})
    kept = ledger.expire()
    assert many.keys() - kept.runs.keys() == {f"run-{MAX_LAPSED + n}" for n in range(3)}
    assert kept.settled[NOON.date()] == Amount(tokens=3)
    assert kept.spent(NOON.date()) == ledger.spent(NOON.date())


def test_the_largest_document_fits(store: Store) -> None:
    """As many as may run and lapse, with the longest ids."""
    settings = LimitSettings(sessions=1_000)
    runs = {
        f"{number:0200d}": Reservation(
            run_id=f"{number:0200d}",
            day=NOON.date(),
            own_key=False,
            reserved=Amount(tokens=10**12, micros=10**12),
            lease_until=NOON + LEASE,
            used=used(10**12, 1e6),
            lapsed_at=NOON if number >= 1_000 else None,
        )
        for number in range(1_000 + MAX_LAPSED)
    }
    ledger = Ledger(settings=settings, now=NOON, runs=runs, settled={NOON.date(): NOTHING})
    store.transact(lambda tx: write(tx, ledger))
    assert Quota(settings).read(store, NOON).runs == runs


# Any history

RUNS = Bundle("runs")
COSTS = st.sampled_from([0.0, 0.1, 1.0, 2.5, 4.0, 7.0])
TOKENS = st.integers(0, 400)


class Shelf:
    """Documents in a dictionary."""

    def __init__(self) -> None:
        self.documents: dict[str, Mapping[str, Any]] = {}

    def get(self, path: str) -> Document | None:
        """The document."""
        data = self.documents.get(path)
        return None if data is None else Document(path=path, data=dict(data))

    def query(self, query: object) -> list[Document]:
        """Nobody asks."""
        raise NotImplementedError(query)


class AnyHistory(RuleBasedStateMachine):
    """Starts, reports, ends, crashes and returns, by clocks that step in both directions.

    Beside it a plain account of what every run was given and has told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.settings = LimitSettings(
            sessions=2, daily_tokens=1_000, run_tokens=600, daily_micros=8 * MICROS
        )
        self.quota = Quota(self.settings)
        self.shelf = Shelf()
        self.now = NOON
        self.asked = 0
        self.given: dict[str, Reservation] = {}
        self.told: dict[str, Amount] = {}
        self.told_late: dict[str, Amount] = {}  # while others could have had its share
        self.lease: dict[str, datetime] = {}
        self.lapsed: set[str] = set()

    def transact(self, ledger: Ledger) -> None:
        """Store it, through a transaction's own checks."""
        tx = Transaction(Schema(COLLECTIONS), self.shelf)
        write(tx, ledger)
        for one in tx.writes:
            assert isinstance(one, Put)
            self.shelf.documents[one.path] = one.data
        self.lapsed |= {run.run_id for run in ledger.runs.values() if not run.running}

    def read(self) -> Ledger:
        """As it is stored."""
        return self.quota.read(self.shelf, self.now)

    @initialize(hours=st.integers(0, 23))
    def begin(self, hours: int) -> None:
        """At any time of the day."""
        self.now = NOON.replace(hour=hours, minute=59)

    @rule(target=RUNS, cost=st.none() | COSTS.filter(bool), own_key=st.booleans())
    def start(self, cost: float | None, own_key: bool) -> str:
        """A run asks; what it is given was free."""
        self.asked += 1
        run_id = f"run-{self.asked}"
        before = self.read()
        wanted = Wanted(cost_usd=cost, own_key=own_key)
        try:
            ledger, reservation = before.reserve(run_id, wanted, lease_until=self.now + LEASE)
        except CallerError:
            left = before.daily - before.held(before.today)
            assert before.running >= 2 or (not own_key and min(left.tokens, left.micros) <= 0)
            return run_id
        assert before.running < 2
        assert own_key or not ledger.held(ledger.today).exceeds(ledger.daily)
        self.transact(ledger)
        self.given[run_id] = reservation
        self.told[run_id] = self.told_late[run_id] = NOTHING
        self.lease[run_id] = self.now + LEASE
        return run_id

    @rule(run_id=RUNS, tokens=TOKENS, cost=COSTS)
    def report(self, run_id: str, tokens: int, cost: float) -> None:
        """A driver renews; one that lost its place is told so."""
        before = self.read()
        usage = Usage(output_tokens=tokens, cost_usd=cost)
        try:
            ledger = before.renew(run_id, usage, lease_until=self.now + LEASE)
        except LapsedError:
            assert run_id not in before.runs or not before.runs[run_id].running
            return
        self._tell(run_id, usage, in_time=before.runs[run_id].running)
        self.lease[run_id] = self.now + LEASE
        self.lapsed.discard(run_id)
        self.transact(ledger)

    @rule(run_id=consumes(RUNS), tokens=TOKENS, cost=COSTS, times=st.integers(1, 2))
    def end(self, run_id: str, tokens: int, cost: float, times: int) -> None:
        """A driver settles, perhaps twice, perhaps too late."""
        usage = Usage(output_tokens=tokens, cost_usd=cost)
        before = self.read()
        known = before.runs.get(run_id)
        for _ in range(times):
            self.transact(self.read().settle(run_id, usage))
        if known is not None:
            self._tell(run_id, usage, in_time=known.running)

    @rule(run_id=consumes(RUNS))
    def finalise(self, run_id: str) -> None:
        """Somebody else ends it, after a crash."""
        self.transact(self.read().settle(run_id, None))

    @rule(seconds=st.sampled_from([1, 29, 30, 31, 3_600, 90_000, -1, -45, -90_000]))
    def step(self, seconds: int) -> None:
        """Time passes, or a clock is set."""
        self.now += timedelta(seconds=seconds)

    @rule()
    def somebody_writes(self) -> None:
        """What has lapsed by now is stored as lapsed."""
        self.transact(self.read())

    def _tell(self, run_id: str, usage: Usage, *, in_time: bool) -> None:
        if not self.given[run_id].own_key:
            before = self.told[run_id]
            self.told[run_id] = before.most(amount_of(usage))
            if not in_time:
                self.told_late[run_id] += self.told[run_id] - before

    def _days(self) -> set[date]:
        return {reservation.day for reservation in self.given.values()}

    @invariant()
    def slots_are_never_passed(self) -> None:
        """Over all days; and nobody has one whose lease has ended, or was seen to have ended."""
        running = {run.run_id for run in self.read().runs.values() if run.running}
        assert len(running) <= 2
        assert all(self.lease[run_id] > self.now for run_id in running)
        assert not running & self.lapsed

    @invariant()
    def what_was_told_is_counted_once(self) -> None:
        """On the day of its reservation, and nothing else is."""
        ledger = self.read()
        for day in self._days():
            told = sum((self.told[run_id] for run_id in self._of(day)), NOTHING)
            counted = (run.spent for run in ledger.runs.values() if run.day == day)
            assert sum(counted, self._settled(day)) == told

    @invariant()
    def the_budget_is_passed_only_by_what_was_not_kept_to(self) -> None:
        """Each run by what it used above its reservation, and by what it told after its lease."""
        ledger = self.read()
        for day in self._days():
            bound, held = ledger.daily, NOTHING
            for run_id in self._of(day):
                reserved, told = self.given[run_id].reserved, self.told[run_id]
                bound += told - reserved.least(told) + self.told_late[run_id]
                is_running = run_id in ledger.runs and ledger.runs[run_id].running
                held += reserved.most(told) if is_running else told
            assert not held.exceeds(bound)

    def _of(self, day: date) -> list[str]:
        return [run_id for run_id, given in self.given.items() if given.day == day]

    def _settled(self, day: date) -> Amount:
        found = self.shelf.get(f"quota/{day.isoformat()}")
        ledger = self.read()
        # What was read may be ahead of what is stored: reading settles what is to be forgotten.
        stored = Amount.from_data(found.data) if found else NOTHING
        return ledger.settled.get(day, stored)


AnyHistory.TestCase.settings = hypothesis(max_examples=examples(40), stateful_step_count=30)
TestAnyHistory = AnyHistory.TestCase
