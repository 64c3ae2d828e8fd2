"""A comment is kept true, as often as GitHub takes it."""

import threading
import time

from claude_run.errors import CallerError, Code, UpstreamError
from gateway.issues.pacing import EDITS_PER_HOUR, interval
from gateway.issues.progress import Progress
from gateway.sessions import events

WAIT = 20.0


def test_the_pace_is_the_contracts() -> None:
    """5 s in the first minute, then 30 s, slower where there are many."""
    assert [interval(elapsed, 1) for elapsed in (0, 59, 60, 3_000)] == [5, 5, 30, 30]
    for runs in (5, 20, 100):
        assert runs * 3_600 / interval(600, runs) <= EDITS_PER_HOUR
        assert interval(600, runs) > 30


class Page:
    """A comment that takes its time, or refuses."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.written: list[str] = []
        self.wrote = threading.Event()
        self.now = 0.0
        self.runs = 1

    def edit(self, body: str) -> None:
        self.written.append(body)
        self.wrote.set()
        if self.errors:
            raise self.errors.pop(0)

    def progress(self) -> Progress:
        return Progress(
            edit=self.edit,
            render=lambda standing, _elapsed: str(standing.calls),
            runs=lambda: self.runs,
            monotonic=lambda: self.now,
        )

    def wait(self) -> None:
        assert self.wrote.wait(WAIT)
        self.wrote.clear()


CALL = events.tool_use(1, "a", "Bash", {})
DELTA = events.claude_delta(1, "words")


def test_news_are_written_once_and_in_time() -> None:
    """At once the first, then those that came meanwhile together."""
    page = Page()
    progress = page.progress()
    progress.watch(DELTA)  # nothing to tell
    progress.watch([CALL])
    page.wait()
    progress.watch([CALL])
    progress.watch([CALL])
    time.sleep(0.1)
    assert page.written == ["1"]
    page.now = 5.0
    progress.watch([CALL])
    page.wait()
    progress.close()
    assert page.written == ["1", "4"]


def test_beside_many_runs_it_is_written_less_often() -> None:
    """They share what GitHub allows; their number is asked for each time."""
    page = Page()
    page.runs = 20
    progress = page.progress()
    progress.watch([CALL])
    page.wait()
    for now in (5.0, 60.0, 99.0):
        page.now = now
        progress.watch([CALL])
        time.sleep(0.05)
        assert page.written == ["1"]
    page.now = 100.0
    progress.watch([CALL])
    page.wait()
    progress.close()


def test_a_limit_is_waited_for() -> None:
    """GitHub's `Retry-After` counts for more than our own pace."""
    busy = UpstreamError("busy", code=Code.UPSTREAM_RATE_LIMIT, headers={"Retry-After": "60"})
    page = Page(busy)
    progress = page.progress()
    progress.watch([CALL])
    page.wait()
    for now in (30.0, 59.0):
        page.now = now
        progress.watch([CALL])
        time.sleep(0.05)
        assert page.written == ["1"]
    page.now = 61.0
    progress.watch([CALL])
    page.wait()
    progress.close()


def test_a_deleted_comment_is_left_alone() -> None:
    """And the run is not disturbed."""
    page = Page(CallerError("gone", code=Code.NOT_FOUND))
    progress = page.progress()
    progress.watch([CALL])
    page.wait()
    page.now = 1e6
    progress.watch([CALL])
    time.sleep(0.05)
    progress.close()
    assert page.written == ["1"]


def test_nothing_is_written_after_the_end() -> None:
    """The receipt that comes next stays."""
    page = Page()
    progress = page.progress()
    progress.close()
    progress.watch([CALL])
    time.sleep(0.05)
    assert page.written == []


def test_an_edit_under_way_is_waited_for() -> None:
    """It would undo the receipt that comes next."""
    page, order = Page(), list[str]()
    going, may_end = threading.Event(), threading.Event()

    def edit(body: str) -> None:
        going.set()
        may_end.wait(WAIT)
        order.append(f"edited {body}")

    page.edit = edit  # type: ignore[method-assign]
    progress = page.progress()

    def close() -> None:
        progress.close()
        order.append("closed")

    progress.watch([CALL])
    assert going.wait(WAIT)
    closing = threading.Thread(target=close)
    closing.start()
    time.sleep(0.05)
    may_end.set()
    closing.join(WAIT)
    assert order == ["edited 1", "closed"]
