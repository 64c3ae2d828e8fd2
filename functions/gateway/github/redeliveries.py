"""Deliveries that GitHub could not bring: it never tries again by itself, so it is asked to.

https://docs.github.com/en/rest/apps/webhooks
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import structlog

from claude_run.errors import CallerError, UpstreamError
from gateway.github.access import GitHubAccess
from gateway.github.failures import translated

log = structlog.get_logger()

# Of 100 each: what GitHub tells of the last hours of a busy App, or of days of a quiet one.
MAX_PAGES = 5
# GitHub takes them for so long.
LOOK_BACK = timedelta(days=3)
# One look asks for so many; the next one for the rest.
MAX_REDELIVERIES = 20
# What was refused so often is refused.
MAX_ATTEMPTS = 4
# A first try may still be under way, and so may one that was asked for.
PAUSE = timedelta(minutes=1)

_PATH = "/app/hook/deliveries"
_NEXT = re.compile(r'[?&]cursor=([A-Za-z0-9_%.=-]{1,200})[^>]*>; rel="next"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of GitHub's to deliver; all of one delivery have its `guid`."""

    id: int
    guid: str
    at: datetime
    succeeded: bool

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """As GitHub lists it; `UpstreamError` where it does not."""
        try:
            return cls(
                id=int(told["id"]),
                guid=str(told["guid"]),
                at=datetime.fromisoformat(told["delivered_at"]).astimezone(UTC),
                succeeded=200 <= int(told["status_code"]) < 300,
            )
        except (KeyError, TypeError, ValueError):
            raise UpstreamError("GitHub's list of deliveries cannot be understood.") from None


def failed(attempts: Iterable[Attempt], *, now: datetime) -> list[Attempt]:
    """Of each delivery that never arrived the last try, oldest first, where another may help."""
    by_guid: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_guid.setdefault(attempt.guid, []).append(attempt)
    found = [
        max(tries, key=lambda one: one.at)
        for tries in by_guid.values()
        if len(tries) < MAX_ATTEMPTS and not any(one.succeeded for one in tries)
    ]
    due = [one for one in found if now - LOOK_BACK < one.at <= now - PAUSE]
    return sorted(due, key=lambda one: one.at)


class Redeliveries:
    """Of one App. Safe under threads."""

    def __init__(self, access: GitHubAccess, clock: Callable[[], datetime]) -> None:
        self._access = access
        self._clock = clock

    def ask(self) -> int:
        """Have failed deliveries come again. Returns how many."""
        return sum(self._is_asked(attempt) for attempt in self.due()[:MAX_REDELIVERIES])

    def due(self) -> list[Attempt]:
        """Those that never arrived."""
        return failed(self._attempts(), now=self._clock())

    def _is_asked(self, attempt: Attempt) -> bool:
        path = f"{_PATH}/{attempt.id}/attempts"
        try:
            with translated(self._clock):
                self._access.app().requester.requestJsonAndCheck("POST", path)
        except CallerError as error:
            # This one alone, and perhaps each time: those behind it come all the same.
            log.warning(
                "delivery is not sent again", delivery_id=attempt.guid, reason=error.message
            )
            return False
        log.info("delivery is asked for again", delivery_id=attempt.guid)
        return True

    def _attempts(self) -> Iterator[Attempt]:
        requester = self._access.app().requester
        oldest = self._clock() - LOOK_BACK
        cursor = ""
        for _ in range(MAX_PAGES):
            with translated(self._clock):
                headers, page = requester.requestJsonAndCheck(
                    "GET", f"{_PATH}?per_page=100{cursor}"
                )
                attempts = [Attempt.of(one) for one in page]
            yield from attempts
            found = _NEXT.search(headers.get("link", ""))
            if found is None or not attempts or attempts[-1].at < oldest:
                return
            cursor = f"&cursor={found[1]}"
