"""How often a caller may call: fixed UTC windows, counted exactly.

What it costs: one document read and one written for a call that is let through, one read for one
that is refused. All counts of a caller stand in one document, so that one transaction decides.
Firestore wants about one sustained write a second on a document: the 60 calls a minute that a
caller has by default are just that, 1,000 an hour a quarter of it, and refusals write nothing, so
that a flood cannot heat the document up. (Shards would be faster, and would not be exact.)
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from claude_run.errors import CallerError, Code
from gateway.limit_settings import LimitSettings
from gateway.store import Collection, Put, Store, Transaction

RETENTION = timedelta(days=2)  # the longest window, and a clock that is a day behind

COLLECTION = Collection(name="limits", expires=True, unindexed=("minute", "hour", "day"))

# By the field that holds its counts; seconds. All begin at 1970, so they are UTC's own.
_SIZES = {"minute": 60, "hour": 3_600, "day": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What is left of the minute after a call; `reset` is its end, in seconds since 1970."""

    limit: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """As the API reference has them."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }


class Limits:
    """The limits of every caller."""

    def __init__(self, store: Store, settings: LimitSettings) -> None:
        self._store = store
        self._settings = settings

    def take(self, caller_sub: str, now: datetime) -> Allowance:
        """Count a call, or raise `CallerError` RATE_LIMIT_EXCEEDED; a refused one counts nothing.

        `StoreUnavailableError` passes: without its count no call is let through.
        """
        path = _path(caller_sub)

        def work(transaction: Transaction) -> Allowance:
            found = transaction.get(path)
            counts, allowance = _counted(found.data if found else {}, self._settings, now)
            transaction.write(Put(path, {**counts, "expireAt": now + RETENTION}))
            return allowance

        return self._store.transact(work)


def _path(caller_sub: str) -> str:
    # A subject can be any text, and is nobody's business who reads the store.
    return f"limits/{hashlib.sha256(caller_sub.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """The window of one size that a call falls into, and the counts of it and its neighbours."""

    name: str
    size: int
    allowed: int
    number: int
    counts: Mapping[int, int]

    @property
    def used(self) -> int:
        return self.counts.get(self.number, 0)

    @property
    def end(self) -> int:
        return (self.number + 1) * self.size

    def to_data(self) -> dict[str, int]:
        """With one call more."""
        counts = {**self.counts, self.number: self.used + 1}
        return {str(number): count for number, count in sorted(counts.items())}


def _window(stored: Mapping[str, Any], name: str, allowed: int, now: datetime) -> _Window:
    size = _SIZES[name]
    number = math.floor(now.timestamp()) // size
    counts = {int(key): count for key, count in stored.get(name, {}).items()}
    # The neighbours too: at an edge, instances whose clocks differ by a little come in any order,
    # and each call must count in its own window and take nothing from another's. Clocks that differ
    # by more than a window, or a stepped one, begin a new count.
    near = {key: count for key, count in counts.items() if abs(key - number) <= 1}
    return _Window(name=name, size=size, allowed=allowed, number=number, counts=near)


def _counted(
    stored: Mapping[str, Any], settings: LimitSettings, now: datetime
) -> tuple[dict[str, dict[str, int]], Allowance]:
    """The counts with one call more, and what they leave; or the refusal."""
    minute = _window(stored, "minute", settings.per_minute, now)
    hour = _window(stored, "hour", settings.per_hour, now)
    day = _window(stored, "day", settings.per_day, now)
    full = [window for window in (minute, hour, day) if window.used >= window.allowed]
    if full:
        raise _refusal(full[-1], _allowance(minute, minute.used), now)
    counts = {window.name: window.to_data() for window in (minute, hour, day)}
    return counts, _allowance(minute, minute.used + 1)


def _allowance(minute: _Window, used: int) -> Allowance:
    # A limit that was lowered may have been passed already.
    remaining = max(0, minute.allowed - used)
    return Allowance(limit=minute.allowed, remaining=remaining, reset=minute.end)


def _refusal(window: _Window, allowance: Allowance, now: datetime) -> CallerError:
    seconds = max(1, math.ceil(window.end - now.timestamp()))
    end = datetime.fromtimestamp(window.end, UTC).isoformat()
    return CallerError(
        f"Too many requests: {window.allowed} a {window.name} are allowed. "
        f"Try again in {seconds} s.",
        code=Code.RATE_LIMIT_EXCEEDED,
        details={"window": window.name, "limit": window.allowed, "until": end},
        headers={**allowance.headers(), "Retry-After": str(seconds)},
    )
