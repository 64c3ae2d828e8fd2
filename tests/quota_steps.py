"""Steps of limits and quota that tests take, here and in processes of their own."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from claude_run.errors import CallerError, Code
from gateway import limits, metrics, quota
from gateway.limit_settings import MICROS, LimitSettings
from gateway.limits import Limits
from gateway.quota import Quota, Wanted
from gateway.reservation import Reservation
from gateway.sessions.record import Usage
from gateway.store import Store, StoreUnavailableError, Transaction, open_store

T = TypeVar("T")
TRIES = 20

COLLECTIONS = (limits.COLLECTION, quota.COLLECTION, metrics.COLLECTION)
# The last millisecond of a minute, of an hour and of a day.
EDGE = datetime(2026, 11, 22, 23, 59, 59, 999_000, tzinfo=UTC)
NEXT = EDGE + timedelta(milliseconds=1)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)

# Of these, ten pass; three runs start.
TEN_A_MINUTE = LimitSettings(per_minute=10)
THREE_SESSIONS = LimitSettings(sessions=3)
# Two whole budgets and a rest.
TWELVE_DOLLARS = LimitSettings(daily_micros=12 * MICROS, daily_tokens=10**9, sessions=100)


def opened(url: str) -> Store:
    """A store of what is under test. Its clock stands: expiry is the store's own matter."""
    return open_store(url, collections=COLLECTIONS, clock=lambda: NOON)


def patiently(work: Callable[[], T]) -> T:
    """Come back while too many want the same document, as `Retry-After` says.

    Not if it may have happened: nothing may be counted twice.
    """
    for _ in range(TRIES):
        try:
            return work()
        except StoreUnavailableError as error:
            if error.is_outcome_unknown:
                raise
    raise TimeoutError


def is_passed(work: Callable[[], object], code: Code) -> bool:
    """Whether it succeeds; refused with this code it does not."""
    try:
        patiently(work)
    except CallerError as error:
        if error.code is not code:
            raise
        return False
    return True


def is_taken(limits: Limits, now: datetime, who: str = "somebody") -> bool:
    """Whether a call passes."""
    return is_passed(lambda: limits.take(who, now), Code.RATE_LIMIT_EXCEEDED)


def start(
    store: Store,
    settings: LimitSettings,
    run_id: str,
    wanted: Wanted | None = None,
    now: datetime = NOON,
) -> Reservation | None:
    """A run's reservation, None where it is refused."""

    def work(tx: Transaction) -> Reservation:
        return Quota(settings).reserve(tx, run_id, wanted or Wanted(), until=now + LEASE, now=now)

    granted: list[Reservation] = []
    is_passed(lambda: granted.append(store.transact(work)), Code.QUOTA_EXCEEDED)
    return granted[0] if granted else None


def renew(
    store: Store, settings: LimitSettings, run_id: str, used: Usage, now: datetime = NOON
) -> None:
    """Renew a run's lease."""

    def work(tx: Transaction) -> None:
        Quota(settings).renew(tx, run_id, used, until=now + LEASE, now=now)

    patiently(lambda: store.transact(work))


def settle(
    store: Store, settings: LimitSettings, run_id: str, used: Usage, now: datetime = NOON
) -> None:
    """End a run."""

    def work(tx: Transaction) -> None:
        Quota(settings).settle(tx, run_id, used, now=now)

    patiently(lambda: store.transact(work))


def shown(store: Store, settings: LimitSettings, now: datetime = NOON) -> dict[str, Any]:
    """What `/health` says."""
    return Quota(settings).status(store, now=now).to_json()
