"""Looks at what the gateway depends on: at once, within a deadline, not more often than needed."""

import threading
import time
from collections.abc import Callable

import pytest

from claude_run.errors import Code, UpstreamError
from gateway import checks
from gateway.checks import KEPT_SECONDS, LATE, Checks


class Clock:
    """A monotonic clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def down() -> None:
    """A part that is not well."""
    raise UpstreamError("It is down.", code=Code.UNAVAILABLE)


def test_outcomes_and_their_values() -> None:
    """What is well has a value, what is not a reason; a bug in a check says nothing of itself."""

    def broken() -> None:
        raise KeyError("sk-secret")

    found = Checks({"up": lambda: 7, "down": down, "broken": broken}).look()
    assert (found["up"].ok, found["up"].value) == (True, 7)
    assert (found["down"].ok, found["down"].message) == (False, "It is down.")
    assert not found["broken"].ok
    assert "sk-secret" not in found["broken"].message


def test_an_outcome_is_kept_for_seconds() -> None:
    """Whoever asks often costs nothing; later it is looked at again."""
    clock, looked = Clock(), []
    subject = Checks({"a": lambda: looked.append(1)}, monotonic=clock)
    for moment in (0.0, 1.0, KEPT_SECONDS - 0.1, KEPT_SECONDS):
        clock.now = moment
        subject.look()
    assert len(looked) == 2


def test_many_who_ask_at_once_cause_one_look() -> None:
    """The others wait for what the first one finds."""
    looked: list[int] = []

    def slow() -> None:
        looked.append(1)
        time.sleep(0.2)

    subject = Checks({"a": slow})
    threads = [threading.Thread(target=subject.look) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(looked) == 1


def test_a_check_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are asked at once; one that is late is told so, and not started beside itself."""
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.2)
    clock, release, started = Clock(), threading.Event(), []

    def hang() -> None:
        started.append(1)
        release.wait(10)

    slow: Callable[[], None] = lambda: time.sleep(0.1)  # noqa: E731
    subject = Checks({"hang": hang, "a": slow, "b": slow}, monotonic=clock)
    began = time.monotonic()
    found = subject.look()
    assert time.monotonic() - began < 0.35
    assert (found["hang"].ok, found["hang"].message) == (False, LATE)
    assert found["a"].ok
    assert found["b"].ok
    clock.now = KEPT_SECONDS
    assert not subject.look()["hang"].ok
    assert len(started) == 1
    release.set()
    clock.now = 2 * KEPT_SECONDS
    assert subject.look()["hang"].ok
