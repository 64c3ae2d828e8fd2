"""Counters: what is shown of them, and that none is lost, doubled or waited for."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway import metrics
from gateway.counters import (
    BUCKETS_MS,
    Counts,
    Timing,
    _route_of,
    route_field,
    timing_fields,
)
from gateway.metrics import Metrics, read_counts, webhook_write
from gateway.prometheus import exposition
from gateway.store import Store, StoreUnavailableError, Write, open_store
from gateway.store.document import check_field
from quota_steps import NOON
from store_contract import all_at_once

ROUTES = (
    *("/health", "/interactive/start", "/interactive/{id}", "/interactive/{id}/events"),
    *("/webhooks/github", "/deliveries/{id}/replay", "/openapi.json", "/container/process-issue"),
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where the store will be."""
    return f"sqlite://{tmp_path}/state/gateway.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store."""
    store = open_store(url, collections=[metrics.COLLECTION])
    yield store
    store.close()


@pytest.fixture
def counters(store: Store) -> Iterator[Metrics]:
    """Counters whose thread has ended with the test."""
    counters = Metrics(store, routes=ROUTES)
    yield counters
    counters.close()


class Breaking:
    """A store whose writes fail as they are told to, and are counted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.failures: list[StoreUnavailableError] = []
        self.writes = 0

    def write(self, writes: Iterable[Write]) -> None:
        """Fail, or write."""
        self.writes += 1
        if self.failures:
            raise self.failures.pop()
        self._store.write(writes)


# What is shown


def test_the_page_s_metrics(store: Store, counters: Metrics) -> None:
    """The body of `GET /metrics`, field by field."""
    counters.request("/health", 200, 0.1)
    counters.request("/health", 503, 0.2)
    counters.request("/interactive/{id}", 404, 0.003)
    counters.container_started()
    counters.container_started()
    counters.container_failed()
    counters.webhook(NOON, is_counted=True)
    counters.flush()
    store.write([webhook_write()])
    assert read_counts(store).metrics_body(
        active=2, started_at=NOON - timedelta(days=5), now=NOON, version="0.1.0"
    ) == {
        "requests": {
            "total": 3,
            "byRoute": {"/health": 2, "/interactive/{id}": 1},
            "byStatus": {"200": 1, "404": 1, "503": 1},
        },
        "containers": {"active": 2, "total": 2, "errors": 1},
        "averageResponseTime": 101.0,
        "deploymentStartTime": "2026-11-17T12:00:00.000Z",
        "uptime": 432_000_000,
        "version": "0.1.0",
        "webhookStats": {"totalWebhooks": 1, "lastWebhookAt": "2026-11-22T12:00:00.000Z"},
    }


def test_the_metrics_of_health(store: Store, counters: Metrics) -> None:
    """A caller's mistake is neither a success nor an error of ours."""
    for status, times in ((200, 90), (404, 4), (500, 5), (503, 1)):
        for _ in range(times):
            counters.request("/health", status, 0.01)
    counters.flush()
    shown = read_counts(store).health_part(active=0)
    assert (shown["requests"]["successRate"], shown["errorRate"]) == (0.9, 0.06)
    assert shown["averageResponseTime"] == 10.0


def test_before_anything_was_counted(store: Store) -> None:
    """No division by nothing; nothing has failed."""
    counts = read_counts(store)
    assert counts.health_part(active=0) == {
        "requests": {"total": 0, "byRoute": {}, "byStatus": {}, "successRate": 1.0},
        "containers": {"active": 0, "total": 0, "errors": 0},
        "averageResponseTime": 0.0,
        "errorRate": 0.0,
    }
    body = counts.metrics_body(active=0, started_at=None, now=NOON, version="0.1.0")
    assert (body["deploymentStartTime"], body["uptime"]) == (None, 0)
    assert body["webhookStats"] == {"totalWebhooks": 0, "lastWebhookAt": None}


def test_prometheus_reads_it(store: Store, counters: Metrics) -> None:
    """The page's three names and what was observed of runs, by Prometheus' own parser."""
    counters.request("/health", 200, 0.1)
    counters.request("/interactive/{id}", 500, 0.3)
    counters.container_started()
    for seconds in (0.0, 0.05, 0.051, 4_000.0):
        counters.observe(Timing.FIRST_TEXT, seconds)
    counters.webhook(NOON)
    counters.flush()
    body, content_type = exposition(read_counts(store), active=3)
    text = body.decode()
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    for line in (
        "# HELP claude_code_requests_total Total number of requests",
        "# TYPE claude_code_requests_total counter",
        "claude_code_requests_total 2.0",
        "# HELP claude_code_containers_active Number of active containers",
        "# TYPE claude_code_containers_active gauge",
        "claude_code_containers_active 3.0",
        "# TYPE claude_code_average_response_time_ms gauge",
        "claude_code_average_response_time_ms 200.0",
        'claude_code_route_requests_total{route="/interactive/{id}"} 1.0',
        'claude_code_responses_total{status="500"} 1.0',
        "claude_code_containers_total 1.0",
        "claude_code_webhooks_total 1.0",
        'claude_code_first_text_seconds_bucket{le="0.05"} 2.0',
        'claude_code_first_text_seconds_bucket{le="0.1"} 3.0',
        'claude_code_first_text_seconds_bucket{le="900.0"} 3.0',
        'claude_code_first_text_seconds_bucket{le="+Inf"} 4.0',
        "claude_code_first_text_seconds_count 4.0",
        "claude_code_first_text_seconds_sum 4000.101",
        "claude_code_run_duration_seconds_count 0.0",
        "claude_code_queue_seconds_count 0.0",
    ):
        assert line in text.splitlines()
    assert len({family.name for family in text_string_to_metric_families(text)}) == 11


def test_a_counter_of_another_version_is_left_out() -> None:
    """An old instance reads what a newer one counts, and the other way round."""
    counts = Counts.from_fields([{"status_200": 1, "news": 5, "queue_le_7": 3}], last=None)
    assert counts.requests == 1
    assert sum(counts.timings[Timing.QUEUE].counts) == 0


# What is counted


def test_paths_that_are_no_routes_are_one(store: Store, counters: Metrics) -> None:
    """A caller who asks for a thousand paths makes one counter."""
    for number in range(1_000):
        counters.request(f"/{number}/../{{id}}", 404, 0)
    counters.flush()
    assert read_counts(store).by_route == {"other": 1_000}


@given(route=st.sampled_from(ROUTES) | st.text("/{}-_.aZ0ä", max_size=12))
def test_a_route_s_counter_has_a_name_that_leads_back(route: str) -> None:
    """Whatever its characters."""
    check_field(route_field(route))
    assert _route_of(route_field(route)) == route


@given(seconds=st.floats(0, 10_000), timing=st.sampled_from(Timing))
def test_every_time_falls_into_one_bucket(seconds: float, timing: Timing) -> None:
    """The first that it is not above, to the millisecond."""
    fields = timing_fields(timing, round(seconds * 1000))
    histogram = Counts.from_fields([fields], last=None).timings[timing]
    assert sum(histogram.counts) == 1
    for bound, (le, count) in zip(BUCKETS_MS, histogram.cumulative(), strict=False):
        assert le == bound / 1000
        assert count == (round(seconds * 1000) <= bound)


def test_threads_lose_nothing(store: Store) -> None:
    """Eight that count while eight others flush."""
    counters = Metrics(store, routes=ROUTES)

    def work(which: int) -> None:
        for _ in range(50):
            if which % 2:
                counters.request("/health", 200, 0.001)
            else:
                counters.flush()

    all_at_once(16, work)
    counters.close()
    assert read_counts(store).metrics_body(active=0, started_at=None, now=NOON, version="")[
        "requests"
    ] == {"total": 400, "byRoute": {"/health": 400}, "byStatus": {"200": 400}}


def test_processes_add_up(store: Store, url: str) -> None:
    """Each for itself, in whichever shard; a process that ends adds its rest."""
    program = (
        "import sys; from gateway import metrics; from gateway.store import open_store;"
        "store = open_store(sys.argv[1], collections=[metrics.COLLECTION]);"
        "m = metrics.Metrics(store, routes=['/health']);"
        "[m.request('/health', 200, 0.002) for _ in range(100)]; m.close()"
    )
    read_counts(store)
    children = [subprocess.Popen([sys.executable, "-c", program, url]) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert read_counts(store).by_route == {"/health": 300}
    assert read_counts(store).average_ms == 2


def test_webhooks_are_counted_by_their_own_commit(store: Store, counters: Metrics) -> None:
    """None is lost, none counts twice, and the last one's time is known."""
    times = [NOON + timedelta(seconds=number) for number in range(40)]
    for moment in times:
        store.write([webhook_write()])
        counters.webhook(moment, is_counted=True)
        counters.webhook(moment)  # one that brought no work
    counters.flush()
    counts = read_counts(store)
    assert (counts.webhooks, counts.last_webhook_at) == (80, times[-1])


# When it is stored


def test_it_is_stored_by_itself(
    store: Store, counters: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds after; then the thread ends, and another one comes with the next count."""
    monkeypatch.setattr(metrics, "FLUSH_SECONDS", 0.02)
    for expected in (1, 2):
        counters.request("/health", 200, 0)
        deadline = time.monotonic() + 10
        while read_counts(store).requests < expected and time.monotonic() < deadline:
            time.sleep(0.01)
        while _threads() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert read_counts(store).requests == expected
        assert not _threads()


def test_one_write_for_many_requests(store: Store) -> None:
    """However many were answered in between; none if there was none."""
    breaking = Breaking(store)
    counters = Metrics(breaking, routes=ROUTES)
    for _ in range(100):
        counters.request("/health", 200, 0.1)
        counters.observe(Timing.DURATION, 3)
    counters.flush()
    counters.flush()
    counters.close()
    assert breaking.writes == 1


@pytest.mark.parametrize(("is_unknown", "kept"), [(False, 2), (True, 1)])
def test_what_could_not_be_stored_is_kept(store: Store, is_unknown: bool, kept: int) -> None:
    """Unless it may have been: nothing is ever counted twice."""
    breaking = Breaking(store)
    counters = Metrics(breaking, routes=ROUTES)
    counters.request("/health", 200, 0.1)
    breaking.failures = [StoreUnavailableError("x", is_outcome_unknown=is_unknown)]
    with pytest.raises(StoreUnavailableError):
        counters.flush()
    counters.request("/health", 200, 0.1)
    counters.close()
    assert read_counts(store).requests == kept


def test_counting_does_not_wait_for_the_store(store: Store) -> None:
    """While a flush hangs, requests are answered; at the end nobody waits long."""
    may_go_on = threading.Event()

    class Hanging(Breaking):
        """A store that does not answer."""

        def write(self, writes: Iterable[Write]) -> None:
            """Wait, and write."""
            may_go_on.wait(30)
            super().write(writes)

    counters = Metrics(Hanging(store), routes=ROUTES)
    counters.request("/health", 200, 0.1)
    flushing = threading.Thread(target=counters.flush)
    flushing.start()
    began = time.monotonic()
    counters.request("/health", 200, 0.1)
    assert time.monotonic() - began < 1
    counters.close()
    assert time.monotonic() - began < metrics.CLOSE_SECONDS + 1
    may_go_on.set()
    for thread in (flushing, *_threads()):
        thread.join(10)
    assert read_counts(store).requests == 2


def test_no_thread_before_the_first_count_and_none_over_a_fork(store: Store) -> None:
    """A server imports and builds all this, and then forks: what the child counts is stored."""
    assert not _threads()
    counters = Metrics(store, routes=ROUTES)
    assert not _threads()
    counters.request("/health", 200, 0.1)
    assert _threads()
    child = os.fork()
    if child == 0:
        counters.request("/openapi.json", 200, 0.1)
        counters.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    counters.close()
    assert read_counts(store).by_route == {"/health": 1, "/openapi.json": 1}


def test_prometheus_is_loaded_by_who_asks_for_it() -> None:
    """It costs a fifth of a second."""
    program = (
        "import gateway.metrics, gateway.prometheus, sys, threading;"
        "print('prometheus_client' in sys.modules, threading.active_count())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "False 1\n"


def test_times_are_shown_in_utc() -> None:
    """Whatever the store gives back."""
    moment = datetime(2026, 11, 22, 13, tzinfo=datetime.strptime("+0100", "%z").tzinfo)
    body = Counts.from_fields([], last=moment).metrics_body(
        active=0, started_at=moment, now=NOON.astimezone(UTC), version=""
    )
    assert body["webhookStats"]["lastWebhookAt"] == "2026-11-22T12:00:00.000Z"


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "metrics"]
