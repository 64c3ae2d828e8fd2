"""The deployment's quota as a value: what runs, what is reserved, what each day has used. Pure.

A run reserves before it starts: a slot, and a share of what is left of the day's money and tokens.
Its slot is its own for as long as it renews its lease, on whatever day; its share belongs to the
day on which it was reserved, over midnight too. When it is over, what it used takes the place of
what it had reserved. When its lease ends first, it has *lapsed*: it has no slot, and only what it
had reported counts, until it says more or is forgotten.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from claude_run.errors import CallerError, Code, StoppedError
from gateway.limit_settings import LimitSettings
from gateway.reservation import NOTHING, Amount, Reservation, Wanted
from gateway.sessions.record import Usage

# No lease is longer. One that ends later was given by a clock that was wrong, and has lapsed.
MAX_LEASE = timedelta(hours=1)
# How long a lapsed run is remembered: whoever finalises it asks what it had used.
LAPSED_KEPT = timedelta(days=1)
# With `MAX_SESSIONS` that run, a document of half a megabyte; the oldest are forgotten first.
MAX_LAPSED = 500
MAX_RUN_ID = 200
# How soon a slot, or the unused part of a reservation, may come back.
RETRY_SECONDS = 30


class LapsedError(StoppedError):
    """The run was not heard of for too long, and others have taken its place: it must stop."""

    code = Code.INTERRUPTED


def utc_day(moment: datetime) -> date:
    """The day of the quota that a moment belongs to."""
    return moment.astimezone(UTC).date()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaStatus:
    """What `/health` says of the quota; `reason` if a run would be refused now."""

    used: Amount
    daily: Amount
    running: int
    sessions: int
    reason: str | None

    def to_json(self) -> dict[str, Any]:
        """The page's object. What runs have reserved and not used is in no figure of it."""
        left = (self.daily - self.used).most(NOTHING)
        shown: dict[str, Any] = {
            "dailyTokens": self.used.tokens,
            "maxDailyTokens": self.daily.tokens,
            "remainingTokens": left.tokens,
            "dailyCost": self.used.usd,
            "maxDailyCost": self.daily.usd,
            "remainingCost": left.usd,
            "activeSessions": self.running,
            "maxConcurrentSessions": self.sessions,
            "allowed": self.reason is None,
        }
        return shown if self.reason is None else {**shown, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The quota at one moment. Every change gives a new one.

    `settled` holds the sums of runs that are over, for today and for each day that a run in `runs`
    reserved on. `changed`: the days whose sums are no longer what was read.
    """

    settings: LimitSettings
    now: datetime
    runs: Mapping[str, Reservation] = field(default_factory=dict)
    settled: Mapping[date, Amount] = field(default_factory=dict)
    changed: frozenset[date] = frozenset()

    @property
    def today(self) -> date:
        """The day on which a run reserves now."""
        return utc_day(self.now)

    @property
    def running(self) -> int:
        """How many slots are taken."""
        return sum(run.running for run in self.runs.values())

    @property
    def daily(self) -> Amount:
        """What a day may use."""
        return Amount(tokens=self.settings.daily_tokens, micros=self.settings.daily_micros)

    def spent(self, day: date) -> Amount:
        """What has been used of a day."""
        runs = (run.spent for run in self.runs.values() if run.day == day)
        return sum(runs, self.settled[day])

    def held(self, day: date) -> Amount:
        """What has been used or reserved of a day."""
        runs = (run.held for run in self.runs.values() if run.day == day)
        return sum(runs, self.settled[day])

    def status(self) -> QuotaStatus:
        """The figures of today."""
        refusal = self.refusal(own_key=False)
        return QuotaStatus(
            used=self.spent(self.today),
            daily=self.daily,
            running=self.running,
            sessions=self.settings.sessions,
            reason=refusal.message if refusal else None,
        )

    def expire(self) -> "Ledger":
        """With the leases that have ended lapsed, and with what lapsed long ago settled."""
        runs = {run.run_id: self._lapsing(run) for run in self.runs.values()}
        lapsed = [(run.lapsed_at, run.run_id) for run in runs.values() if run.lapsed_at]
        newest_first = sorted(lapsed, reverse=True)
        ledger = replace(self, runs=runs)
        for place, (since, run_id) in enumerate(newest_first):
            if place >= MAX_LAPSED or since + LAPSED_KEPT <= self.now:
                ledger = ledger.settle(run_id, None)
        return ledger

    def _lapsing(self, run: Reservation) -> Reservation:
        # Kept as a fact, not worked out anew: what it had reserved may be another's by now, and a
        # clock that steps back must not give it back to this one.
        in_time = self.now < run.lease_until <= self.now + MAX_LEASE
        return run if in_time or not run.running else replace(run, lapsed_at=self.now)

    def reserve(
        self, run_id: str, wanted: Wanted, *, lease_until: datetime
    ) -> tuple["Ledger", Reservation]:
        """A slot and a share for a run, or `CallerError` QUOTA_EXCEEDED with `Retry-After`.

        A run that has a reservation keeps it as it is: its answer may have been lost.
        """
        if not 0 < len(run_id) <= MAX_RUN_ID:
            raise ValueError("a run's id has 1 to 200 characters")
        if (known := self.runs.get(run_id)) is not None:
            if not known.running:
                raise _lapsed()
            return self, known
        if (refusal := self.refusal(own_key=wanted.own_key)) is not None:
            raise refusal
        left = self.daily - self.held(self.today)
        reservation = Reservation(
            run_id=run_id,
            day=self.today,
            own_key=wanted.own_key,
            reserved=NOTHING if wanted.own_key else wanted.amount(self.settings).least(left),
            lease_until=lease_until,
        )
        return self._with(reservation), reservation

    def renew(self, run_id: str, used: Usage, *, lease_until: datetime) -> "Ledger":
        """With a run's lease renewed and its usage so far; `LapsedError` if it has lost its place.

        One that lapsed and whose place is still free gets it back: a laptop that slept goes on.
        """
        known = self.runs.get(run_id)
        if known is None:
            raise _lapsed()
        reported = known.reporting(used)
        renewed = self._with(replace(reported, lease_until=lease_until, lapsed_at=None))
        # What is held even without it cannot be helped, whether it goes on or not.
        bound = self.daily.most(self._with(reported).held(known.day))
        has_room = renewed.running <= self.settings.sessions
        if not (known.running or (has_room and not renewed.held(known.day).exceeds(bound))):
            raise _lapsed()
        return renewed

    def settle(self, run_id: str, used: Usage | None) -> "Ledger":
        """With the run over; it used this, or (None) what it had reported last.

        A run that is not here has been settled before, and changes nothing: this may be repeated.
        """
        known = self.runs.get(run_id)
        if known is None:
            return self
        spent = known.reporting(used).spent
        return replace(
            self,
            runs={key: run for key, run in self.runs.items() if key != run_id},
            settled={**self.settled, known.day: self.settled[known.day] + spent},
            changed=self.changed | {known.day},
        )

    def _with(self, run: Reservation) -> "Ledger":
        return replace(self, runs={**self.runs, run.run_id: run})

    def refusal(self, *, own_key: bool) -> CallerError | None:
        """Why a run cannot start now, naming all that is exhausted; None if it can."""
        exhausted: dict[str, tuple[str, int]] = {}
        sessions = self.settings.sessions
        if self.running >= sessions:
            exhausted["sessions"] = (f"all {sessions} sessions are running", RETRY_SECONDS)
        if not own_key:
            exhausted |= self._exhausted_today()
        if not exhausted:
            return None
        reasons = ", ".join(reason for reason, _ in exhausted.values())
        seconds = max(seconds for _, seconds in exhausted.values())
        return CallerError(
            f"The quota is exhausted: {reasons}. Try again in {seconds} s.",
            code=Code.QUOTA_EXCEEDED,
            details={"exhausted": list(exhausted)},
            headers={"Retry-After": str(seconds)},
        )

    def _exhausted_today(self) -> dict[str, tuple[str, int]]:
        held, spent = self.held(self.today), self.spent(self.today)
        midnight = datetime.combine(self.today + timedelta(days=1), time(), UTC)
        tomorrow = max(1, math.ceil((midnight - self.now).total_seconds()))
        figures = {
            "tokens": (held.tokens, spent.tokens, self.daily.tokens, f"{self.daily.tokens} tokens"),
            "cost": (held.micros, spent.micros, self.daily.micros, f"{self.daily.usd:g} USD"),
        }
        return {
            name: (f"today's {amount} are used", tomorrow)
            if used >= limit
            # Runs seldom use all that they reserve.
            else (f"today's {amount} are used or reserved", min(tomorrow, RETRY_SECONDS))
            for name, (taken, used, limit, amount) in figures.items()
            if taken >= limit
        }


def _lapsed() -> LapsedError:
    return LapsedError("The run was not heard of for too long and has lost its place.")
