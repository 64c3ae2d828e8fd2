"""The limits by name, and everything that is wrong with them at once."""

import pytest

from claude_run.errors import ConfigurationError
from gateway.limit_settings import MICROS, LimitSettings


def test_nothing_set_is_what_the_pages_say() -> None:
    """60 a minute, 1,000 an hour, 5,000 a day; a million tokens, 50 dollars, five sessions."""
    assert LimitSettings.from_environ({"RUN_TOKENS": " "}) == LimitSettings(
        per_minute=60,
        per_hour=1_000,
        per_day=5_000,
        daily_tokens=1_000_000,
        daily_micros=50 * MICROS,
        sessions=5,
        run_micros=5 * MICROS,
        run_tokens=200_000,
    )


def test_each_by_its_name() -> None:
    """Money with a fraction, to the millionth."""
    assert LimitSettings.from_environ(
        {
            "RATE_LIMIT_PER_MINUTE": "1",
            "RATE_LIMIT_PER_HOUR": "2",
            "RATE_LIMIT_PER_DAY": "1000000",
            "MAX_DAILY_TOKENS": "1000000000000",
            "MAX_DAILY_COST_USD": "2.007",
            "MAX_CONCURRENT_SESSIONS": " 1000 ",
            "RUN_BUDGET_USD": "0.000001",
            "RUN_TOKENS": "7",
        }
    ) == LimitSettings(
        per_minute=1,
        per_hour=2,
        per_day=1_000_000,
        daily_tokens=10**12,
        daily_micros=2_007_000,
        sessions=1_000,
        run_micros=1,
        run_tokens=7,
    )


@pytest.mark.parametrize(
    "text",
    ["0", "-1", "+1", "1e3", "1_000", "nan", "inf", "∞", "٣", "1.5", "x", "9" * 14, "1,000"],
)
def test_what_is_no_such_number(text: str) -> None:
    """Neither 0 nor a word can mean "no limit"."""
    with pytest.raises(ConfigurationError) as caught:
        LimitSettings.from_environ({"RATE_LIMIT_PER_MINUTE": text})
    assert "RATE_LIMIT_PER_MINUTE must be a whole number above 0, at most 1000000" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "text", ["0", "0.0000001", "0.0", "-5", "$5", "5,5", "1000001", "NaN", "."]
)
def test_what_is_no_amount_of_money(text: str) -> None:
    """More than nothing, at most six decimals."""
    with pytest.raises(ConfigurationError, match="RUN_BUDGET_USD must be dollars"):
        LimitSettings.from_environ({"RUN_BUDGET_USD": text})


def test_all_that_is_wrong_is_named_at_once() -> None:
    """One start, one look."""
    names = (
        *("RATE_LIMIT_PER_MINUTE", "RATE_LIMIT_PER_HOUR", "RATE_LIMIT_PER_DAY"),
        *("MAX_DAILY_TOKENS", "MAX_DAILY_COST_USD", "MAX_CONCURRENT_SESSIONS"),
        *("RUN_BUDGET_USD", "RUN_TOKENS"),
    )
    with pytest.raises(ConfigurationError) as caught:
        LimitSettings.from_environ(dict.fromkeys(names, "x"))
    assert all(name in caught.value.message for name in names)
