"""The end of a server process that functions-framework runs, within what Cloud Run leaves it."""

import os
import threading
import time
from collections.abc import Callable
from types import FrameType

import structlog

log = structlog.get_logger()

# Cloud Run kills 10 s after SIGTERM; what has not ended by then ends here, with its log written.
EXIT_SECONDS = 8.5


def on_exit(drain: Callable[[], None]) -> None:
    """Call `drain` once, in a thread of its own, when the server process is told to end.

    functions-framework's gunicorn sets its own handlers in each worker, after our module was
    imported: a handler of ours would be gone. It then waits up to 30 s for open streams, which
    nobody has told that it is over.
    """
    from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

    original = ThreadWorker.handle_exit
    begun = threading.Event()

    def handle_exit(worker: ThreadWorker, number: int, frame: FrameType | None) -> None:
        if not begun.is_set():
            begun.set()
            # Not here: a signal's handler runs between any two steps of the main thread, which
            # may hold a lock that draining needs.
            threading.Thread(target=_drain, args=(drain,), name="drain", daemon=True).start()
        original(worker, number, frame)

    # A quick stop (Ctrl-C) is one, too: sessions have something to store.
    ThreadWorker.handle_exit = ThreadWorker.handle_quit = handle_exit


def _drain(drain: Callable[[], None]) -> None:
    deadline = time.monotonic() + EXIT_SECONDS
    try:
        drain()
    except Exception:
        log.exception("draining failed")
    # Whoever still reads has had its last event; a thread that does not end would hold the exit.
    time.sleep(max(0.0, deadline - time.monotonic()))
    log.warning("ended with requests open")
    os._exit(0)
