"""Many requests over some connections at once, from one thread: the client costs little itself."""

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

READ_BYTES = 65536
# Without an answer for so long, something is broken.
SILENCE_SECONDS = 20.0


@dataclass(slots=True)
class Load:
    """What was answered: the status and the seconds of each, and how long all took."""

    statuses: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    took: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.took

    def percentile(self, share: float) -> float:
        """The seconds that this share of the answers took at most."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(share * len(self.seconds)))]


class _Connection:
    """One request after the other, each when the one before is answered."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self.socket = self._connected()
        self._received = b""
        self._began = 0.0

    def _connected(self) -> socket.socket:
        opened = socket.create_connection(self._address)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def send(self, request: bytes) -> None:
        """Send the next one, over a new connection if the server has closed this one."""
        self._received = b""
        self._began = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> tuple[int, float, bool] | None:
        """Status, seconds, and whether it stays open; None: there is more to come."""
        self._received += self.socket.recv(READ_BYTES)
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        fields = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in fields if line.startswith(b"content-length:"))
        if len(body) < length:
            return None
        stays = b"connection: close" not in fields
        return int(head.split(b" ", 2)[1]), time.perf_counter() - self._began, stays

    def reopen(self) -> None:
        """A new connection in its place."""
        self.socket.close()
        self.socket = self._connected()


def drive(url: str, requests: Iterator[bytes], *, connections: int) -> Load:
    """Send all of them, as many at a time as there are connections."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 80)
    load = Load()
    with selectors.DefaultSelector() as selector:
        begin = time.perf_counter()
        for _, request in zip(range(connections), requests, strict=False):
            connection = _Connection(address)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(request)
        while selector.get_map():
            ready = selector.select(SILENCE_SECONDS)
            assert ready, "no answer"
            for key, _ in ready:
                connection = key.data
                answer = connection.receive()
                if answer is None:
                    continue
                status, seconds, stays = answer
                load.statuses[status] = load.statuses.get(status, 0) + 1
                load.seconds.append(seconds)
                selector.unregister(connection.socket)
                following = next(requests, None)
                if following is None:
                    connection.socket.close()
                    continue
                if not stays:
                    connection.reopen()
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                connection.send(following)
        load.took = time.perf_counter() - begin
    return load
