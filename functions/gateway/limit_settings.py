"""The limits and quotas by name: `RATE_LIMIT_PER_MINUTE` and its like, read once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from claude_run.errors import ConfigurationError

MICROS = 1_000_000  # of a dollar
MAX_CALLS = 1_000_000
MAX_TOKENS = 1_000_000_000_000
MAX_SESSIONS = 1_000  # all that run stand in one document
MAX_USD = 1_000_000


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a number is written, what it is called, and what part of 1 it is counted in."""

    form: re.Pattern[str]
    words: str
    unit: int = 1


_WHOLE = _Kind(re.compile(r"[0-9]{1,13}"), "a whole number")
_USD = _Kind(re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?"), "dollars with at most six decimals,", MICROS)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """What a caller may ask for and what the deployment may use; money in millionths of a dollar.

    Whole numbers, because sums of them are exact whatever their order.
    """

    per_minute: int = 60
    per_hour: int = 1_000
    per_day: int = 5_000
    daily_tokens: int = 1_000_000
    daily_micros: int = 50 * MICROS
    sessions: int = 5
    run_micros: int = 5 * MICROS
    run_tokens: int = 200_000

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "LimitSettings":
        """Read all of them, or raise `ConfigurationError` naming every wrong one.

        None can be 0, which would be "no limit" to one reader and "nothing at all" to another.
        """
        default = cls()
        wrong: list[str] = []

        def whole(name: str, usual: int, most: int) -> int:
            return _read(environ.get(name, ""), name, _WHOLE, most, wrong) or usual

        def micros(name: str, usual: int) -> int:
            return _read(environ.get(name, ""), name, _USD, MAX_USD, wrong) or usual

        settings = cls(
            per_minute=whole("RATE_LIMIT_PER_MINUTE", default.per_minute, MAX_CALLS),
            per_hour=whole("RATE_LIMIT_PER_HOUR", default.per_hour, MAX_CALLS),
            per_day=whole("RATE_LIMIT_PER_DAY", default.per_day, MAX_CALLS),
            daily_tokens=whole("MAX_DAILY_TOKENS", default.daily_tokens, MAX_TOKENS),
            daily_micros=micros("MAX_DAILY_COST_USD", default.daily_micros),
            sessions=whole("MAX_CONCURRENT_SESSIONS", default.sessions, MAX_SESSIONS),
            run_micros=micros("RUN_BUDGET_USD", default.run_micros),
            run_tokens=whole("RUN_TOKENS", default.run_tokens, MAX_TOKENS),
        )
        if wrong:
            raise ConfigurationError("; ".join(wrong), details={"settings": wrong})
        return settings


def _read(text: str, name: str, kind: _Kind, most: int, wrong: list[str]) -> int | None:
    """The number in its kind's unit, above 0; None if it is not set, or wrong."""
    text = text.strip()
    if not text:
        return None
    value = int(Decimal(text) * kind.unit) if kind.form.fullmatch(text) else 0
    if not 0 < value <= most * kind.unit:
        wrong.append(f"{name} must be {kind.words} above 0, at most {most}")
        return None
    return value
