"""A runner's stream, opened and read in a thread of its own."""

import queue
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass

import structlog

from claude_run.client import RunStream
from claude_run.errors import ClaudeRunError, Code, UpstreamError
from claude_run.events import RunEvent
from gateway.sessions.proposing import Proposal

log = structlog.get_logger()

# How long a runner may take to remove what a turn that was just ended has left.
CONFLICT_SECONDS = 20.0
CONFLICT_PAUSE_SECONDS = 0.2
JOIN_SECONDS = 5.0


class Pump:
    """A thread that opens the runner's stream and reads it, until either side has had enough.

    Opening can take as long as an instance takes to start: the lease is renewed meanwhile, and
    whoever cancels is heard.
    """

    def __init__(
        self,
        *,
        name: str,
        open_stream: Callable[[], RunStream],
        received: "queue.Queue[Received]",
    ) -> None:
        self._open_stream = open_stream
        self._received = received
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._stream: RunStream | None = None
        # In the turn's trace: it is this thread that asks the runner.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=name, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End the run; one that is still being opened ends as soon as it is."""
        self._over.set()
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.close()
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        try:
            stream = self._opened()
            with self._lock:
                self._stream = stream
            # From here on one of the two sees the other: `close` the stream, or we that it is over.
            with stream:
                self._put(Opened(stream.session_id))
                for event in stream:
                    self._put(event)
                    if self._over.is_set():
                        return
        except ClaudeRunError as error:
            self._put(error)
        except Exception:
            if not self._over.is_set():
                log.exception("reading the runner's stream failed")
            self._put(UpstreamError("The runner's stream broke.", code=Code.INTERRUPTED))

    def _opened(self) -> RunStream:
        """The stream; asked for again while the turn before, just cancelled, is cleaned up there.

        CONFLICT means that nothing has begun.
        """
        deadline = time.monotonic() + CONFLICT_SECONDS
        while True:
            try:
                return self._open_stream()
            except ClaudeRunError as error:
                late = time.monotonic() > deadline or self._over.is_set()
                if error.code is not Code.CONFLICT or late:
                    raise
            self._over.wait(CONFLICT_PAUSE_SECONDS)

    def _put(self, item: "Received") -> None:
        while not self._over.is_set():
            try:
                self._received.put(item, timeout=0.2)
            except queue.Full:
                continue
            return


@dataclass(frozen=True, slots=True)
class Opened:
    """The runner has answered; its name for the conversation."""

    session_id: str | None


Received = RunEvent | ClaudeRunError | Opened | Proposal
