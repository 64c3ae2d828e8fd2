"""How long to wait before the next try, and when to stop trying."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import SystemRandom

MAX_ATTEMPTS = 12
FIRST_WAIT_SECONDS = 0.02
MAX_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Jittered exponential waits, bounded in number and in time together.

    Full jitter (any wait up to the bound): those who met once shall not meet again.
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    attempts: int = MAX_ATTEMPTS
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    # Of the system: processes that were forked from one another would else draw the same.
    random: Callable[[], float] = SystemRandom().random

    def tries(self, seconds: float) -> Iterator[float]:
        """Yield the seconds that are left, once for each try; wait in between."""
        end = self.monotonic() + seconds
        for attempt in range(self.attempts):
            if attempt:
                wait = min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**attempt) * self.random()
                if self.monotonic() + wait >= end:
                    return
                self.sleep(wait)
            left = end - self.monotonic()
            if left <= 0:
                return
            yield left
