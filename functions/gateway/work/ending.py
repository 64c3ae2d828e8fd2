"""The end of a worker that is told to end: its state stored, and no later than it has to be."""

import os
import signal
import threading
import time
from types import FrameType

import structlog

from claude_run import spans
from gateway.work.loop import Worker

log = structlog.get_logger()

# Cloud Run kills 10 s after SIGTERM. What still waits for somebody by then is given back as it is.
LET_GO_SECONDS = 6.5
EXIT_SECONDS = 7.5


class Ending:
    """Interrupts a worker at a signal, once."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._begun = False

    def install(self) -> None:
        """From now on; in the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self._begun:
            self._begun = True
            # Not here: a signal's handler runs between any two steps of the main thread, which
            # may hold a lock that this needs.
            threading.Thread(target=self._end, name="ending", daemon=True).start()

    def _end(self) -> None:
        started = time.monotonic()
        self._worker.interrupt()
        time.sleep(LET_GO_SECONDS)
        # The main thread has ended the process by now, unless it waits for an answer.
        log.warning("ends in the middle of a step")
        self._worker.let_go()
        time.sleep(max(0.0, started + EXIT_SECONDS - time.monotonic()))
        spans.stop()
        os._exit(0)
