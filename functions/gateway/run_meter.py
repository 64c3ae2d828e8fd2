"""What is measured of one run, from the moment at which the runner is asked for it."""

import time
from dataclasses import dataclass, field

from gateway.counters import Timing
from gateway.metrics import Metrics


@dataclass(slots=True)
class RunMeter:
    """Of one run. One that never began counts as none."""

    metrics: Metrics
    _asked: float = field(default_factory=time.monotonic)
    _began: float | None = None

    def begin(self) -> None:
        """The runner has answered."""
        self._began = time.monotonic()
        self.metrics.container_started()
        self.metrics.observe(Timing.QUEUE, self._began - self._asked)

    def end(self, *, first_text_at: float | None, failed: bool) -> None:
        """It is over; its first text came at that monotonic time, if any did."""
        if self._began is None:
            return
        self.metrics.observe(Timing.DURATION, time.monotonic() - self._began)
        if first_text_at is not None:
            self.metrics.observe(Timing.FIRST_TEXT, first_text_at - self._began)
        if failed:
            self.metrics.container_failed()
