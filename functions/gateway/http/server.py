"""The server that functions-framework starts, set to what this gateway needs of it.

functions-framework lets nobody pass options to its gunicorn but by a few variables; the rest is
set where gunicorn keeps its defaults, before it reads them.
"""

import os
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import structlog

from claude_run import spans
from gateway.http.envelope import answer_unparsed

log = structlog.get_logger()

# functions-framework's own default is four a core, and each open stream holds one. Cloud Run sends
# an instance 80 requests at once unless told otherwise; the rest is for probes and DELETE.
THREADS = 100
# Cloud Run kills 10 s after SIGTERM; what has not ended by then ends here, with its log written.
EXIT_SECONDS = 8.0


def prepare(drain: Callable[[], None]) -> None:
    """Set threads and signals; `drain` is called once, in a worker that is told to end."""
    from gunicorn import config, util  # type: ignore[import-untyped]
    from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

    os.environ.setdefault("THREADS", str(THREADS))
    # A socket in the home directory that takes commands, the same for every server there.
    config.ControlSocketDisable.default = True
    # Of the master, for its worker.
    config.GracefulTimeout.default = int(EXIT_SECONDS) + 1
    # It answers in HTML to what it cannot parse, before any of us sees it.
    util.write_error = answer_unparsed
    ending = _Exit(ThreadWorker.handle_exit, drain)

    def handle_exit(worker: object, number: int, frame: FrameType | None) -> None:
        ending(worker, number, frame)

    # gunicorn sets its own handlers in each worker, after our module was imported: one of ours
    # would be gone. A quick stop (Ctrl-C) ends sessions that have something to store, too.
    ThreadWorker.handle_exit = ThreadWorker.handle_quit = handle_exit


class _Exit:
    """gunicorn's handler, which waits for open requests, and ours, which ends them."""

    def __init__(
        self, original: Callable[[Any, int, FrameType | None], None], drain: Callable[[], None]
    ) -> None:
        self._original = original
        self._drain = drain
        self._begun = False

    def __call__(self, worker: object, number: int, frame: FrameType | None) -> None:
        if not self._begun:
            self._begun = True
            # Not here: a signal's handler runs between any two steps of the main thread, which
            # may hold a lock that draining needs.
            threading.Thread(target=self._end, name="drain", daemon=True).start()
        self._original(worker, number, frame)

    def _end(self) -> None:
        deadline = time.monotonic() + EXIT_SECONDS
        try:
            self._drain()
        except Exception:
            log.exception("draining failed")
        # Every reader has been given its last event by now. Where the process does not end by
        # itself, a thread waits for somebody who does not read, or does not answer.
        time.sleep(max(0.0, deadline - time.monotonic()))
        spans.stop()
        log.warning("ended with requests open")
        os._exit(0)
