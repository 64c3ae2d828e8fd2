"""Workers as children of this process: what a laptop has instead of Cloud Run jobs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from claude_run.errors import Code, UpstreamError

log = structlog.get_logger()

# Each has a run of Claude Code at the runner; the rest stays accepted.
MAX_WORKERS = 2
# A worker stores its state within 8 s.
END_SECONDS = 8.5

_SOURCES = Path(__file__).parents[2]
_WORKER = ("-m", "gateway.worker")


class ProcessStarter:
    """At most so many at once, each in a session of its own. Made after the fork."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        arguments: Sequence[str] = _WORKER,
        most: int = MAX_WORKERS,
    ) -> None:
        # functions-framework finds this package by a path that its children do not have.
        paths = [str(_SOURCES), environ.get("PYTHONPATH", "")]
        self._environ = {**environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._arguments = arguments
        self._most = most
        self._lock = threading.Lock()
        self._children: list[subprocess.Popen[bytes]] = []
        self._is_asked_again = False
        self._is_closed = False

    def start(self) -> None:
        """Start a worker; where all are busy, one of them is followed by another.

        A busy one looks for more work before it ends, but may have looked just before there was.
        """
        with self._lock:
            if self._is_closed:
                return
            if len(self._children) >= self._most:
                self._is_asked_again = True
            else:
                self._spawn()

    def close(self) -> None:
        """End all; each stores where it is, and the work is gone on with at the next start."""
        with self._lock:
            self._is_closed = True
            children = list(self._children)
        deadline = time.monotonic() + END_SECONDS
        for child in children:
            child.send_signal(signal.SIGTERM)  # nothing, to one that has been reaped
        for child in children:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("a worker did not end", pid=child.pid)
                child.kill()

    def _spawn(self) -> None:
        try:
            child = subprocess.Popen(
                [sys.executable, *self._arguments],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                # Ctrl-C in the terminal is for whoever ends us all in order.
                start_new_session=True,
            )
        except OSError as error:
            raise UpstreamError(
                f"No worker can be started: {error.strerror}.", code=Code.UNAVAILABLE
            ) from None
        self._children.append(child)
        threading.Thread(
            target=self._reap, args=(child,), name=f"worker-{child.pid}", daemon=True
        ).start()

    def _reap(self, child: "subprocess.Popen[bytes]") -> None:
        status = child.wait()
        if status:
            log.warning("a worker failed", pid=child.pid, status=status)
        with self._lock:
            self._children.remove(child)
            if not self._is_asked_again or self._is_closed:
                return
            self._is_asked_again = False
            try:
                self._spawn()
            except UpstreamError as error:
                log.warning("no worker was started", reason=error.message)
