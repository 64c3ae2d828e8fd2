"""The deployment's counters as Prometheus reads them.

All come from the store, histograms too: a scrape meets any instance, and each would know its own
requests only.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway.counters import Counts, Histogram, Timing

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_TIMINGS = {
    Timing.DURATION: ("claude_code_run_duration_seconds", "Time of a run, to its end"),
    Timing.FIRST_TEXT: ("claude_code_first_text_seconds", "Time of a run until its first text"),
    Timing.QUEUE: ("claude_code_queue_seconds", "Time that a run waited before it began"),
}


def exposition(counts: Counts, *, active: int) -> tuple[bytes, str]:
    """The body of `GET /metrics/prometheus`, and its content type. `active`: the runs of now."""
    # 0.2 s, and nobody else needs it.
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
    from prometheus_client.registry import Collector

    class Stored(Collector):
        def collect(self) -> "Iterator[Metric]":
            return _families(counts, active)

    # One of its own: the global one holds counters of this process alone.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Stored())
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


def _families(counts: Counts, active: int) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily as Counter
    from prometheus_client.core import GaugeMetricFamily as Gauge

    yield Counter("claude_code_requests_total", "Total number of requests", counts.requests)
    yield Gauge("claude_code_containers_active", "Number of active containers", active)
    yield Gauge(
        "claude_code_average_response_time_ms",
        "Average response time in milliseconds",
        round(counts.average_ms, 2),
    )
    routes = Counter("claude_code_route_requests_total", "Requests by route", labels=["route"])
    for route, count in counts.by_route.items():
        routes.add_metric([route], count)
    yield routes
    answers = Counter("claude_code_responses_total", "Answers by status", labels=["status"])
    for status, count in counts.by_status.items():
        answers.add_metric([str(status)], count)
    yield answers
    yield Counter("claude_code_containers_total", "Runs handed to the runner", counts.containers)
    yield Counter("claude_code_container_errors_total", "Runs that failed", counts.container_errors)
    yield Counter("claude_code_webhooks_total", "Webhook deliveries accepted", counts.webhooks)
    for timing, histogram in counts.timings.items():
        yield _histogram(*_TIMINGS[timing], histogram)


def _histogram(name: str, words: str, histogram: Histogram) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    return HistogramMetricFamily(
        name,
        words,
        buckets=[(_bound(seconds), count) for seconds, count in histogram.cumulative()],
        sum_value=histogram.sum_ms / 1000,
    )


def _bound(seconds: float) -> str:
    return "+Inf" if math.isinf(seconds) else str(seconds)
