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
        self._is_looking = False

    @contextmanager
    def bounded(self, connection: socket.socket, seconds: float) -> Iterator[None]:
        """Whoever still reads from the connection after so many seconds reads its end."""
        number = object()
        with self._changed:
            self._ends[number] = time.monotonic() + seconds, connection
            if not self._is_looking:
                self._is_looking = True
                threading.Thread(target=self._look, name="patience", daemon=True).start()
            elif len(self._ends) == 1:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._ends[number]

    def _look(self) -> None:
        while True:
            with self._changed:
                # While nobody sends anything, nothing is looked at.
                self._changed.wait(LOOK_SECONDS if self._ends else None)
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
