"""How long somebody may take to send a body: it holds a thread all the while.

A socket's own time-out bounds each silence only: with a byte every few seconds a thread would be
held for good, and whoever opens a hundred such connections holds all of them.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_SECONDS = 1.0


class Patience:
    """Ends connections whose body takes too long, in one thread for all. Made before a fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ends: dict[object, tuple[float, socket.socket]] = {}
        self._thread: threading.Thread | None = None
        self._is_idle = False

    @contextmanager
    def bounded(self, connection: socket.socket, seconds: float) -> Iterator[None]:
        """Whoever still reads from the connection after so many seconds reads its end."""
        number = object()
        with self._changed:
            self._ends[number] = time.monotonic() + seconds, connection
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="patience", daemon=True)
                self._thread.start()
            elif self._is_idle:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._ends[number]

    def _look(self) -> None:
        while True:
            with self._changed:
                if not self._ends:
                    self._is_idle = True
                    self._changed.wait()
                    self._is_idle = False
                # Most bodies are here by then: it is woken once a moment, and not by each.
                self._changed.wait(LOOK_SECONDS)
                now = time.monotonic()
                for end, connection in self._ends.values():
                    if end <= now:
                        _end(connection)


def _end(connection: socket.socket) -> None:
    try:
        # Only what comes in: it can still be answered.
        connection.shutdown(socket.SHUT_RD)
    except OSError:
        return  # it is gone
