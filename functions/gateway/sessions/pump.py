"""Reads the runner's stream in a thread of its own, until either side has had enough.

Opening can take as long as an instance takes to start: the lease is renewed meanwhile, and whoever
cancels is heard.
"""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass

import structlog

from claude_run.client import RunStream
from claude_run.errors import ClaudeRunError, Code, UpstreamError
from claude_run.events import DoneEvent, RunEvent
from gateway.sessions.skim import Said, Skimmer

log = structlog.get_logger()

# Each is what came in one read, 64 KiB at most but for an event that is longer; beyond these the
# runner, and Claude Code behind it, wait.
QUEUED_BATCHES = 16
# How long a runner may take to remove what a turn that was just ended has left.
CONFLICT_SECONDS = 20.0
CONFLICT_PAUSE_SECONDS = 0.2
JOIN_SECONDS = 5.0
_PUT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Opened:
    """The runner has answered; its name for the conversation."""

    session_id: str | None


# A list holds the events that have come together; an error is the last that is received.
Received = Opened | list[RunEvent | Said] | ClaudeRunError


class Pump:
    """Of one run, which begins with it and ends with `close`."""

    def __init__(self, *, name: str, open_stream: Callable[[], RunStream]) -> None:
        self._open_stream = open_stream
        self._received: queue.Queue[Received] = queue.Queue(QUEUED_BATCHES)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._stream: RunStream | None = None
        # In the turn's trace: it is this thread that asks the runner.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=name, daemon=True
        )
        self._thread.start()

    def receive(self, seconds: float) -> list[Received]:
        """All that has come and was not received yet; none: nothing within that time."""
        found: list[Received] = []
        with suppress(queue.Empty):
            found.append(self._received.get(timeout=seconds))
            # At most as many again as there is room for: a run cannot hold its driver here.
            while len(found) <= QUEUED_BATCHES:
                found.append(self._received.get_nowait())
        return found

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
                self._read(stream)
        except ClaudeRunError as error:
            self._put(error)
        except Exception:
            if not self._over.is_set():
                log.exception("reading the runner's stream failed")
            self._put(UpstreamError("The runner's stream broke.", code=Code.INTERRUPTED))

    def _read(self, stream: RunStream) -> None:
        skimmer = Skimmer()
        while (chunk := stream.read()) is not None:
            batch: list[RunEvent | Said] = []
            try:
                batch.extend(skimmer.feed(chunk))
            finally:
                # Also what came before something that cannot be understood.
                if batch:
                    self._put(batch)
            if self._over.is_set():
                return
            if batch and isinstance(batch[-1], DoneEvent):
                with suppress(UpstreamError):
                    stream.read()  # the server closes the connection, as it likes to
                return
        raise UpstreamError("The stream ended before the run did.", code=Code.INTERRUPTED)

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

    def _put(self, item: Received) -> None:
        while not self._over.is_set():
            try:
                self._received.put(item, timeout=_PUT_SECONDS)
            except queue.Full:
                continue
            return
