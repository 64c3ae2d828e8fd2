"""What a caller is told of its limits, and what counts."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_run.errors import CallerError, Code
from gateway.limit_settings import LimitSettings
from gateway.limits import Limits, _counted
from gateway.store import Query, Store, StoreUnavailableError, sqlite
from quota_steps import NOON, is_taken, opened

SMALL = LimitSettings(per_minute=2, per_hour=3, per_day=4)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
# The moments of a first day, in seconds, as any instances with any clocks may name them.
MOMENTS = st.lists(st.integers(0, 4 * 3_600), max_size=60)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = opened(f"sqlite://{tmp_path}/state/gateway.db")
    yield store
    store.close()


def refused(limits: Limits, now: datetime) -> CallerError:
    """How a call is refused."""
    with pytest.raises(CallerError) as caught:
        limits.take("somebody", now)
    return caught.value


def test_what_is_left_of_the_minute(store: Store) -> None:
    """The page's headers: limit, what remains after this call, and the minute's end."""
    limits = Limits(store, LimitSettings())
    now = datetime(2026, 11, 22, 12, 0, 59, 999_999, tzinfo=UTC)
    end = str(int(datetime(2026, 11, 22, 12, 1, tzinfo=UTC).timestamp()))
    for remaining in ("59", "58"):
        assert limits.take("somebody", now).headers() == {
            "X-RateLimit-Limit": "60",
            "X-RateLimit-Remaining": remaining,
            "X-RateLimit-Reset": end,
        }
    assert limits.take("somebody", now + SECOND).remaining == 59


def test_a_refusal_says_when_to_come_back(store: Store) -> None:
    """Of the longest window that is full; the headers are the minute's."""
    limits = Limits(store, SMALL)
    now = NOON + timedelta(seconds=17.5)
    assert is_taken(limits, now)
    assert is_taken(limits, now)
    error = refused(limits, now)
    assert (error.code, error.http_status) == (Code.RATE_LIMIT_EXCEEDED, 429)
    assert error.message == "Too many requests: 2 a minute are allowed. Try again in 43 s."
    assert error.headers == {
        "X-RateLimit-Limit": "2",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int((NOON + MINUTE).timestamp())),
        "Retry-After": "43",
    }
    assert is_taken(limits, now + MINUTE)
    error = refused(limits, now + MINUTE)
    assert error.details["window"] == "hour"
    assert error.headers["Retry-After"] == str(3_600 - 77)
    assert error.headers["X-RateLimit-Remaining"] == "1"
    assert is_taken(limits, now + timedelta(hours=1))
    error = refused(limits, now + timedelta(hours=1))
    assert error.details == {"window": "day", "limit": 4, "until": "2026-11-23T00:00:00+00:00"}
    assert is_taken(limits, NOON + timedelta(hours=12))


@pytest.mark.parametrize("seconds", [0.0, 0.000_001, 30.4, 59.999_999])
def test_who_comes_back_when_told_passes(store: Store, seconds: float) -> None:
    """`Retry-After` is rounded up, and by less than a second."""
    limits = Limits(store, LimitSettings(per_minute=1))
    now = NOON + timedelta(seconds=seconds)
    assert is_taken(limits, now)
    after = timedelta(seconds=int(refused(limits, now).headers["Retry-After"]))
    assert not is_taken(limits, now + after - SECOND)
    assert is_taken(limits, now + after)


def test_a_refused_call_counts_nothing_and_writes_nothing(store: Store) -> None:
    """A flood costs reads only, and is over with its minute."""
    limits = Limits(store, SMALL)
    assert [is_taken(limits, NOON) for _ in range(5)] == [True, True, False, False, False]
    found = store.get(_path(store))
    assert found is not None
    number = int(NOON.timestamp())
    assert found.data == {
        "minute": {str(number // 60): 2},
        "hour": {str(number // 3_600): 2},
        "day": {str(number // 86_400): 2},
        "expireAt": NOON + timedelta(days=2),
    }


def test_callers_do_not_share_and_their_names_are_not_kept(store: Store) -> None:
    """Any text may be a subject; the store does not show it."""
    limits = Limits(store, LimitSettings(per_minute=1))
    for who in ("a", "b", "a/b", "../a", "", "ü" * 5_000, "__a__", "a\0"):
        assert is_taken(limits, NOON, who)
        assert not is_taken(limits, NOON, who)


def test_windows_are_of_utc(store: Store) -> None:
    """Whatever zone the time is given in."""
    limits = Limits(store, LimitSettings(per_day=1))
    zone = datetime(2026, 11, 23, 5, 29, tzinfo=datetime.strptime("+0530", "%z").tzinfo)
    assert is_taken(limits, zone)  # 23:59 on the 22nd
    assert not is_taken(limits, NOON)
    assert is_taken(limits, zone + MINUTE)


def test_no_store_no_call(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with `Retry-After`: what cannot be counted is not let through."""
    monkeypatch.setattr(sqlite, "TRANSACT_SECONDS", 0.1)
    limits = Limits(store, SMALL)
    is_inside, may_end = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        is_inside.set()
        may_end.wait(10)

    holder = threading.Thread(target=store.transact, args=(hold,))
    holder.start()
    is_inside.wait(10)
    try:
        with pytest.raises(StoreUnavailableError) as caught:
            limits.take("somebody", NOON)
    finally:
        may_end.set()
        holder.join()
    assert caught.value.http_status == 503
    assert caught.value.headers["Retry-After"] == "2"


@given(moments=MOMENTS)
def test_no_window_ever_passes_its_limit(moments: list[int]) -> None:
    """Calls dated in rising order: each window lets its number through, and never one less."""
    settings = LimitSettings(per_minute=3, per_hour=7, per_day=11)
    data: dict[str, dict[str, int]] = {}
    passed: list[int] = []
    for moment in sorted(moments):
        counts = [
            sum(one // size == moment // size for one in passed) for size in (60, 3_600, 86_400)
        ]
        may_pass = counts[0] < 3 and counts[1] < 7 and counts[2] < 11
        try:
            data, allowance = _counted(data, settings, datetime.fromtimestamp(moment, UTC))
        except CallerError:
            assert not may_pass
        else:
            assert may_pass
            assert allowance.remaining == 3 - counts[0] - 1
            passed.append(moment)


@given(moments=st.lists(st.integers(0, 119), max_size=40))
def test_clocks_that_differ_by_less_than_a_window_change_nothing(moments: list[int]) -> None:
    """Calls of two neighbouring minutes in any order: each is counted in its own."""
    settings = LimitSettings(per_minute=3)
    data: dict[str, dict[str, int]] = {}
    passed = [0, 0]
    for moment in moments:
        try:
            data, _ = _counted(data, settings, datetime.fromtimestamp(moment, UTC))
        except CallerError:
            assert passed[moment // 60] == 3
        else:
            passed[moment // 60] += 1
            assert passed[moment // 60] <= 3


@pytest.mark.parametrize("step", [timedelta(days=400), -timedelta(days=400), timedelta(minutes=2)])
def test_a_clock_that_stepped_locks_nobody_out(store: Store, step: timedelta) -> None:
    """Far ahead and back, or the other way: a new count, and no more kept than windows near."""
    limits = Limits(store, LimitSettings(per_minute=1))
    assert is_taken(limits, NOON + step)
    assert is_taken(limits, NOON)
    assert not is_taken(limits, NOON)
    found = store.get(_path(store))
    assert found is not None
    assert len(found.data["minute"]) == 1


def _path(store: Store) -> str:
    (document,) = store.query(Query(collection="limits", limit=2))
    return document.path
