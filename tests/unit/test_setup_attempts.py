"""Who tries a code too often has to wait, and costs nothing meanwhile."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from claude_run.errors import CallerError, Code
from gateway import limits
from gateway.setup.attempts import MAX_REFUSED, PER_ADDRESS, PER_MINUTE, Attempts
from gateway.store import Store, StoreUnavailableError, open_store
from gateway_app import NoStore

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    url = f"sqlite://{tmp_path}/g.db"
    store = open_store(url, collections=[limits.COLLECTION], clock=lambda: NOON)
    yield store
    store.close()


def refused(attempts: Attempts, address: str = "a", now: datetime = NOON) -> CallerError:
    """How a try is refused."""
    with pytest.raises(CallerError) as caught:
        attempts.take(address, now)
    assert caught.value.code is Code.RATE_LIMIT_EXCEEDED
    assert int(caught.value.headers["Retry-After"]) >= 1
    return caught.value


def test_an_address_has_ten_tries_a_minute(store: Store) -> None:
    """In all instances together; others are not held up, and after a minute it goes on."""
    seconds = 0.0
    first, second = (Attempts(store, monotonic=lambda: seconds) for _ in range(2))
    for number in range(PER_ADDRESS.per_minute):
        (first, second)[number % 2].take("a", NOON)
    assert refused(first).headers["Retry-After"] == "60"
    refused(second)
    first.take("b", NOON)
    seconds = 60.0
    first.take("a", NOON + timedelta(minutes=1))


def test_what_was_refused_is_refused_without_asking(store: Store) -> None:
    """A flood from one address neither reaches the store nor takes others' tries."""
    seconds = 0.0
    attempts = Attempts(store, monotonic=lambda: seconds)
    for _ in range(PER_ADDRESS.per_minute):
        attempts.take("a", NOON)
    refused(attempts)
    attempts._limits = limits.Limits(NoStore(), PER_ADDRESS)
    seconds = 59.0
    assert refused(attempts).headers["Retry-After"] == "1"
    for _ in range(2 * PER_MINUTE):
        refused(attempts)
    attempts._limits = limits.Limits(store, PER_ADDRESS)
    attempts.take("b", NOON)


def test_an_instance_has_an_end_of_tries(store: Store) -> None:
    """From however many addresses; what is remembered of them is bounded as well."""
    seconds = 0.0
    attempts = Attempts(store, monotonic=lambda: seconds)
    for number in range(PER_MINUTE):
        attempts.take(f"address-{number}", NOON)
    refused(attempts, "another")
    seconds = 60.0
    attempts.take("another", NOON)
    for number in range(MAX_REFUSED + 5):
        attempts._remember(f"address-{number}", CallerError("x", headers={"Retry-After": "9"}))
    assert len(attempts._refused) == MAX_REFUSED


def test_without_the_store_nobody_tries() -> None:
    """A try that cannot be counted is not let through."""
    with pytest.raises(StoreUnavailableError):
        Attempts(NoStore()).take("a", NOON)
