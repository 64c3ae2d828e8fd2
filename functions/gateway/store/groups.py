"""Jobs of many threads, done in groups: one thread does those of all who wait.

Where the end of a group is what takes long, as a commit that waits for the disk, so many that come
at once need two ends and not as many as they are.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from gateway.store.errors import StoreUnavailableError

T = TypeVar("T")

# What a group holds up for others, and what fails together with it, stays small.
MAX_TOGETHER = 100


class Job(Generic[T]):
    """Something to do with what the group shares, and how it ended. `end`: no later than that."""

    def __init__(self, work: Callable[[Any], T], end: float) -> None:
        # Done by another thread, it still is of the request that it came with.
        self._context = copy_context()
        self._work = work
        self._result: list[T] = []
        self.end = end
        self.error: BaseException | None = None
        self.leads = False
        # Held until its thread is called: a lock is the cheapest thing to wait for.
        self.called = threading.Lock()
        self.called.acquire()

    def do(self, shared: object) -> None:
        """Do it; it raises what the work raises."""
        self._result = [self._context.run(self._work, shared)]

    def outcome(self) -> T:
        """What the work has returned, or raise what was in its way."""
        if self.error is not None:
            raise self.error
        return self._result[0]


class Groups:
    """`do` is given the jobs of a group: it does each, and sets the `error` of those that failed.

    Whoever comes while nobody is at work does a group; the others wait, and the first of them does
    the next. Nobody needs a thread of their own, and none lives longer than its caller.
    """

    def __init__(self, do: Callable[[Sequence[Job[Any]]], None]) -> None:
        self._do = do
        self._mutex = threading.Lock()
        self._waiting: deque[Job[Any]] = deque()
        self._is_busy = False

    def run(self, work: Callable[[Any], T], seconds: float) -> T:
        """What the work returns, once its group has ended; `StoreUnavailableError` without one."""
        job = Job(work, time.monotonic() + seconds)
        with self._mutex:
            self._waiting.append(job)
            job.leads = not self._is_busy
            self._is_busy = True
        if not job.leads:
            self._wait(job, seconds)
        if job.leads:
            self._lead()
        return job.outcome()

    def _wait(self, job: Job[T], seconds: float) -> None:
        """Until it is done, or the first of those who wait."""
        if job.called.acquire(timeout=max(0.0, seconds)):
            return
        with self._mutex:
            if job in self._waiting and not job.leads:
                self._waiting.remove(job)
                raise StoreUnavailableError("another thread is writing")
        # It is being done at this moment, or has just become the first.
        job.called.acquire()

    def _lead(self) -> None:
        with self._mutex:
            count = min(MAX_TOGETHER, len(self._waiting))
            group = [self._waiting.popleft() for _ in range(count)]
        try:
            self._do(group)
        finally:
            with self._mutex:
                following = self._waiting[0] if self._waiting else None
                self._is_busy = following is not None
                if following is not None:
                    following.leads = True
                    following.called.release()
            for job in group:
                job.called.release()
