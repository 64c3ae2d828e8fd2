"""What is counted, how the counters are called in the store, and what is shown of them. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from itertools import accumulate
from typing import Any

from gateway.timestamp import iso

# Stands for every path that is no route of ours: labels are a closed list, whatever callers send.
OTHER_ROUTE = "other"
CONTAINERS = "containers"
CONTAINER_ERRORS = "containerErrors"
WEBHOOKS = "webhooks"
_REQUEST_MS = "requestMs"
_ROUTE = "route_"
_STATUS = "status_"

# Upper bounds in ms: from an answer out of memory to the longest run. The last has none.
BUCKETS_MS = (50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000)
_NO_BOUND = "inf"


class Timing(StrEnum):
    """What is measured of runs, as histograms: all of it, until its first text, until it begins."""

    DURATION = "duration"
    FIRST_TEXT = "firstText"
    QUEUE = "queue"


def request_fields(route: str, status: int, milliseconds: int) -> dict[str, int]:
    """What a request adds."""
    return {route_field(route): 1, f"{_STATUS}{status}": 1, _REQUEST_MS: milliseconds}


def timing_fields(timing: Timing, milliseconds: int) -> dict[str, int]:
    """What an observation adds: to one bucket, and to the sum."""
    bound = next((str(bound) for bound in BUCKETS_MS if milliseconds <= bound), _NO_BOUND)
    return {f"{timing}_le_{bound}": 1, f"{timing}_ms": milliseconds}


@cache
def route_field(route: str) -> str:
    """The counter of a route: its other characters as `_` and two hexadecimal digits a byte."""
    parts = (
        chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"_{byte:02x}"
        for byte in route.encode()
    )
    return _ROUTE + "".join(parts)


def _route_of(field: str) -> str:
    escaped = field.removeprefix(_ROUTE).encode()
    return re.sub(rb"_([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), escaped).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Observations by bucket, the one without a bound last."""

    counts: tuple[int, ...]
    sum_ms: int

    def cumulative(self) -> list[tuple[float, int]]:
        """How many took at most so many seconds; infinity is the last."""
        bounds = [*(bound / 1000 for bound in BUCKETS_MS), float("inf")]
        return list(zip(bounds, accumulate(self.counts), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """All counters of the deployment at a moment, seconds old."""

    by_route: Mapping[str, int]
    by_status: Mapping[int, int]
    request_ms: int
    containers: int
    container_errors: int
    webhooks: int
    last_webhook_at: datetime | None
    timings: Mapping[Timing, Histogram]

    @classmethod
    def from_fields(cls, shards: Iterable[Mapping[str, Any]], *, last: datetime | None) -> "Counts":
        """The sums of all shards; a field that this version does not know is left out."""
        sums: dict[str, int] = {}
        for shard in shards:
            for name, value in shard.items():
                sums[name] = sums.get(name, 0) + value
        return cls(
            by_route={_route_of(n): v for n, v in sorted(sums.items()) if n.startswith(_ROUTE)},
            by_status={
                int(n.removeprefix(_STATUS)): v
                for n, v in sorted(sums.items())
                if n.startswith(_STATUS)
            },
            request_ms=sums.get(_REQUEST_MS, 0),
            containers=sums.get(CONTAINERS, 0),
            container_errors=sums.get(CONTAINER_ERRORS, 0),
            webhooks=sums.get(WEBHOOKS, 0),
            last_webhook_at=last,
            timings={timing: _histogram(timing, sums) for timing in Timing},
        )

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return sum(self.by_status.values())

    @property
    def average_ms(self) -> float:
        """The mean time of an answer."""
        return self.request_ms / self.requests if self.requests else 0.0

    def share(self, low: int, high: int) -> float:
        """The part of all answers whose status is in [low, high)."""
        of_them = sum(count for status, count in self.by_status.items() if low <= status < high)
        return of_them / self.requests if self.requests else 0.0

    def metrics_body(
        self, *, active: int, started_at: datetime | None, now: datetime, version: str
    ) -> dict[str, Any]:
        """The body of `GET /metrics`; `active` are the runs of now, `started_at` the deployment."""
        return {
            "requests": self._requests(),
            "containers": self._containers(active),
            "averageResponseTime": round(self.average_ms, 2),
            "deploymentStartTime": _shown(started_at),
            "uptime": round((now - started_at).total_seconds() * 1000) if started_at else 0,
            "version": version,
            "webhookStats": self.webhook_stats(),
        }

    def webhook_stats(self) -> dict[str, Any]:
        """The `webhookStats` of `GET /metrics`, and part of what health says of GitHub."""
        return {
            "totalWebhooks": self.webhooks,
            "lastWebhookAt": _shown(self.last_webhook_at),
        }

    def health_part(self, *, active: int) -> dict[str, Any]:
        """The `metrics` of `GET /health`. A 4xx is neither a success nor an error of ours."""
        success = self.share(100, 400) if self.requests else 1.0
        return {
            "requests": {**self._requests(), "successRate": round(success, 4)},
            "containers": self._containers(active),
            "averageResponseTime": round(self.average_ms, 2),
            "errorRate": round(self.share(500, 600), 4),
        }

    def _requests(self) -> dict[str, Any]:
        return {
            "total": self.requests,
            "byRoute": dict(self.by_route),
            "byStatus": {str(status): count for status, count in self.by_status.items()},
        }

    def _containers(self, active: int) -> dict[str, int]:
        return {"active": active, "total": self.containers, "errors": self.container_errors}


def _histogram(timing: Timing, sums: Mapping[str, int]) -> Histogram:
    bounds = [*map(str, BUCKETS_MS), _NO_BOUND]
    return Histogram(
        counts=tuple(sums.get(f"{timing}_le_{bound}", 0) for bound in bounds),
        sum_ms=sums.get(f"{timing}_ms", 0),
    )


def _shown(moment: datetime | None) -> str | None:
    return iso(moment) if moment is not None else None
