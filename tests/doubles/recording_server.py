"""An HTTP server that keeps what it is asked and answers whatever bytes a test wants."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

END_SECONDS = 10.0

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it arrived."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for found, value in self.headers if found.lower() == name]


# Gets what was asked and a way to send bytes; the connection closes when it returns.
Script = Callable[[Asked, Callable[[bytes], None]], None]


@dataclass(slots=True)
class RecordingServer:
    """Its address, its behaviour, and its memory."""

    port: int = 0
    script: Script = lambda _asked, send: send(OK)
    asked: list[Asked] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self.port}"


class _Handler(socketserver.StreamRequestHandler):
    timeout = END_SECONDS
    server: "_Server"

    def handle(self) -> None:
        line = self.rfile.readline(65_536).decode("latin-1").strip()
        if not line:
            return
        headers: list[tuple[str, str]] = []
        while header := self.rfile.readline(65_536).decode("latin-1").strip():
            name, _, value = header.partition(":")
            headers.append((name.strip(), value.strip()))
        lengths = [int(value) for name, value in headers if name.lower() == "content-length"]
        body = self.rfile.read(lengths[0]) if lengths else b""
        asked = Asked(line=line, headers=headers, body=body)
        self.server.double.asked.append(asked)
        try:
            self.server.double.script(asked, self._send)
        except OSError:
            self.server.double.hung_up.set()

    def _send(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256
    double: RecordingServer


@contextmanager
def recording_server(script: Script | None = None, *, port: int = 0) -> Iterator[RecordingServer]:
    """A server on a free port, or where one was before."""
    server = _Server(("127.0.0.1", port), _Handler)
    server.double = RecordingServer(port=server.server_address[1])
    if script is not None:
        server.double.script = script
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.double
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
