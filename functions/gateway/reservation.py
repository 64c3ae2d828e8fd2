"""What one run has of the quota: what it wants, what it gets, what it has used. Pure.

Money is counted in millionths of a dollar: sums of whole numbers are exact in any order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Self

from gateway.limit_settings import MAX_TOKENS, MAX_USD, MICROS, LimitSettings
from gateway.sessions.record import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Tokens, and money in millionths of a dollar."""

    tokens: int = 0
    micros: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(tokens=self.tokens + other.tokens, micros=self.micros + other.micros)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(tokens=self.tokens - other.tokens, micros=self.micros - other.micros)

    def most(self, other: "Amount") -> "Amount":
        """The greater of each."""
        return Amount(tokens=max(self.tokens, other.tokens), micros=max(self.micros, other.micros))

    def least(self, other: "Amount") -> "Amount":
        """The smaller of each."""
        return Amount(tokens=min(self.tokens, other.tokens), micros=min(self.micros, other.micros))

    def exceeds(self, other: "Amount") -> bool:
        """Whether any of it is greater."""
        return self.tokens > other.tokens or self.micros > other.micros

    @property
    def usd(self) -> float:
        """The money, in dollars."""
        return self.micros / MICROS

    def to_data(self) -> dict[str, int]:
        """As it is stored."""
        return {"tokens": self.tokens, "costMicros": self.micros}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """What `to_data` gave."""
        return cls(tokens=data["tokens"], micros=data["costMicros"])


NOTHING = Amount()


def amount_of(usage: Usage) -> Amount:
    """What counts of a usage: input and output, and its cost rounded up."""
    return Amount(
        tokens=usage.input_tokens + usage.output_tokens,
        micros=_micros(usage.cost_usd, ROUND_CEILING),
    )


def _micros(usd: float, rounding: str) -> int:
    # By its decimal digits: as floats, 2.007 * 1,000,000 is more than 2,007,000.
    return int((Decimal(repr(usd)) * MICROS).to_integral_value(rounding))


def _rising(known: Usage, told: Usage) -> Usage:
    """What a run has used, when it now tells this. No figure ever falls: reports may come late.

    They come from where the agent runs: no number, however wrong, may lower a sum or break it.
    """
    cost = min(told.cost_usd, MAX_USD)
    return Usage(
        input_tokens=max(known.input_tokens, min(told.input_tokens, MAX_TOKENS)),
        output_tokens=max(known.output_tokens, min(told.output_tokens, MAX_TOKENS)),
        # In this order: NaN is not greater than the first.
        cost_usd=max(known.cost_usd, cost),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a run asks for; None is what the settings say. With a key of the caller's: a slot."""

    cost_usd: float | None = None
    tokens: int | None = None
    own_key: bool = False

    def amount(self, settings: LimitSettings) -> Amount:
        """Rounded down, for it becomes a limit, and never nothing."""
        tokens, micros = settings.run_tokens, settings.run_micros
        if self.tokens is not None:
            tokens = max(1, self.tokens)
        if self.cost_usd is not None:
            micros = max(1, _micros(self.cost_usd, ROUND_FLOOR))
        return Amount(tokens=tokens, micros=micros)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One run's part of the quota; `used` is what it has reported so far."""

    run_id: str
    day: date
    own_key: bool
    reserved: Amount
    lease_until: datetime
    used: Usage = field(default_factory=Usage)
    lapsed_at: datetime | None = None

    @property
    def max_tokens(self) -> int | None:
        """The run is stopped when it has used more than these; None: not by us."""
        return None if self.own_key else self.reserved.tokens

    @property
    def budget_usd(self) -> float | None:
        """The budget for Claude Code; None: whatever the caller asked for."""
        return None if self.own_key else self.reserved.usd

    @property
    def running(self) -> bool:
        """Whether it has a slot."""
        return self.lapsed_at is None

    @property
    def spent(self) -> Amount:
        """What it has taken from its day for good."""
        return NOTHING if self.own_key else amount_of(self.used)

    @property
    def held(self) -> Amount:
        """What its day must count for it now."""
        return self.reserved.most(self.spent) if self.running else self.spent

    def reporting(self, told: Usage | None) -> "Reservation":
        """With what it tells of its usage, if it tells anything."""
        return self if told is None else replace(self, used=_rising(self.used, told))

    def to_data(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "runId": self.run_id,
            "day": self.day.isoformat(),
            "ownKey": self.own_key,
            "reserved": self.reserved.to_data(),
            "leaseUntil": self.lease_until,
            "used": self.used.to_json(),
            "lapsedAt": self.lapsed_at,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """What `to_data` gave."""
        return cls(
            run_id=data["runId"],
            day=date.fromisoformat(data["day"]),
            own_key=data["ownKey"],
            reserved=Amount.from_data(data["reserved"]),
            lease_until=data["leaseUntil"],
            used=Usage.from_json(data["used"]),
            lapsed_at=data["lapsedAt"],
        )
