"""Waits grow, are jittered, and end: by number and by time."""

from dataclasses import dataclass, field

from gateway.backoff import MAX_WAIT_SECONDS, Backoff


@dataclass(slots=True)
class Time:
    """A clock that passes by sleeping only."""

    now: float = 50.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def backoff(time: Time, *, attempts: int, jitter: float = 1.0) -> Backoff:
    """A back-off in that time."""
    return Backoff(
        attempts=attempts,
        monotonic=time.monotonic,
        sleep=time.sleep,
        random=lambda: jitter,
    )


def test_the_first_try_is_at_once_and_waits_grow_to_a_bound() -> None:
    """Doubling, never beyond a second."""
    time = Time()
    assert len(list(backoff(time, attempts=9).tries(100))) == 9
    assert time.slept[0] == 0.04
    assert time.slept[:4] == [0.04, 0.08, 0.16, 0.32]
    assert time.slept[-1] == MAX_WAIT_SECONDS
    assert len(time.slept) == 8


def test_waits_are_jittered() -> None:
    """Whatever chance says, from nothing to the whole."""
    time = Time()
    assert len(list(backoff(time, attempts=9, jitter=0.0).tries(100))) == 9
    assert time.slept == [0.0] * 8


def test_each_try_is_told_what_is_left() -> None:
    """And none begins, nor is waited for, when nothing is."""
    time = Time()
    left = []
    for seconds in backoff(time, attempts=100).tries(1.0):
        left.append(seconds)
        time.now += 0.3
    assert left[0] == 1.0
    assert all(0 < seconds <= 1.0 for seconds in left)
    assert len(left) == 3
    assert time.now - 50.0 < 1.3


def test_no_time_no_try() -> None:
    """A deadline that has passed."""
    assert list(backoff(Time(), attempts=5).tries(0.0)) == []
