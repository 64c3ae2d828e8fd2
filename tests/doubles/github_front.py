"""What stands in front of emulate: it knows who asks, keeps what it was asked, and can fail in
every way that a network can. What GitHub does and emulate does not is in `github_rules.py`.
"""

import http.client
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Protocol

from doubles.github_hooks import Hooks
from doubles.github_mirror import Mirror

UPSTREAM_SECONDS = 60.0
_SCHEME = re.compile(r"(token|bearer) +(?P<token>\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One request that reached GitHub. Headers are in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def line(self) -> str:
        """What a fault is matched with."""
        return f"{self.method} {self.path}"

    @property
    def token(self) -> str | None:
        """The token it came with."""
        found = _SCHEME.fullmatch(self.headers.get("authorization", ""))
        return found["token"] if found else None

    @property
    def json(self) -> dict[str, Any]:
        """The body, or an empty object where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, value: object, headers: Mapping[str, str] | None = None) -> "Answer":
        """JSON."""
        kept = {"Content-Type": "application/json; charset=utf-8"} | dict(headers or {})
        return cls(status=status, body=json.dumps(value).encode(), headers=kept)

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever emulate says
        """The body."""
        return json.loads(self.body) if self.body else None


@dataclass(slots=True, kw_only=True)
class Fault:
    """What goes wrong with requests whose `METHOD /path` begins with `match`, a regex.

    The first `skip` are spared, then `times` are not. With a `status` that is answered, and
    nothing is done. `lost`: the connection ends before the request was obeyed (`asked`), or
    after it (`answered`). `delay`: so many seconds of silence before anything else.
    """

    match: str = ""
    skip: int = 0
    times: int = 1
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    lost: Literal["asked", "answered"] | None = None
    delay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """An installation token: emulate's own, whom it stands for, what it permits in which
    repositories (full names).
    """

    upstream: str
    bot: str
    permissions: Mapping[str, str]
    repositories: frozenset[str]

    def permits(self, name: str, permissions: tuple[str, ...], *, write: bool) -> bool:
        """Whether one of the permissions is there, as far as it is needed."""
        enough = ("write",) if write else ("read", "write")
        given = {self.permissions.get(permission) for permission in permissions}
        return name in self.repositories and not given.isdisjoint(enough)


class Rules(Protocol):
    """What GitHub does and emulate does not."""

    def own(self, front: "Front", request: ApiRequest) -> Answer | None:
        """An answer that needs no emulate."""

    def mended(self, front: "Front", request: ApiRequest, answer: Answer) -> Answer:
        """Emulate's answer as GitHub would give it."""


@dataclass(slots=True, kw_only=True)
class Front:
    """Its state. Tests read `requests`, add `faults`, and may forget `grants`."""

    rules: Rules
    hooks: Hooks
    git_port: int
    users: Mapping[str, str]  # token → login; the first owns every repository of the tests
    bots: Mapping[str, str]  # an App's number → its login
    upstream_port: int = 0
    requests: list[ApiRequest] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    mirrors: dict[str, Mirror] = field(default_factory=dict)  # by full name
    public: set[str] = field(default_factory=set)
    grants: dict[str, Grant] = field(default_factory=dict)  # by token
    manifests: dict[str, Any] = field(default_factory=dict)  # by code: what it converts to
    reactions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    verified: set[str] = field(default_factory=set)  # commits that GitHub would have signed
    pulls: dict[str, str] = field(default_factory=dict)  # node id → path
    texts: dict[str, dict[str, Any]] = field(default_factory=dict)  # issues as last told
    lock: threading.RLock = field(default_factory=threading.RLock)
    stopped: threading.Event = field(default_factory=threading.Event)

    def fault(self, request: ApiRequest) -> Fault | None:
        """The fault that this request meets."""
        with self.lock:
            for fault in self.faults:
                if not re.match(fault.match, request.line):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                elif fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def answer(self, request: ApiRequest) -> Answer:
        """GitHub's answer."""
        own = self.rules.own(self, request)
        return own or self.rules.mended(self, request, self.forward(request))

    def login(self, request: ApiRequest) -> str | None:
        """Who asks."""
        grant = self.grants.get(request.token or "")
        return grant.bot if grant else self.users.get(request.token or "")

    def forward(self, request: ApiRequest) -> Answer:
        """Emulate's answer."""
        headers = {"Content-Type": "application/json"}
        if (token := self._upstream_token(request)) is not None:
            headers["Authorization"] = f"token {token}"
        path = request.path + (f"?{request.query}" if request.query else "")
        return exchange(self.upstream_port, request.method, path, request.body, headers)

    def ask(self, method: str, path: str, body: object = None, *, by: str | None = None) -> Answer:
        """What emulate answers to a user (by token), or to the owner."""
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"token {by or next(iter(self.users))}",
        }
        content = json.dumps(body).encode() if body is not None else b""
        return exchange(self.upstream_port, method, path, content, headers)

    def _upstream_token(self, request: ApiRequest) -> str | None:
        grant = self.grants.get(request.token or "")
        if grant is None:
            return request.token
        # Emulate takes an App for the owner of the account wherever issues and pull requests are
        # written: there the App comes as its own user.
        told = request.method != "GET" and re.match(
            r"/repos/[^/]+/[^/]+/(issues|pulls)", request.path
        )
        own = [token for token, login in self.users.items() if told and login == grant.bot]
        return own[0] if own else grant.upstream


def exchange(port: int, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Ask a server on this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=UPSTREAM_SECONDS)
    try:
        connection.request(method, path, body or None, dict(headers))
        answer = connection.getresponse()
        wanted = ("content-type", "link", "location")
        kept = {name: value for name, value in answer.getheaders() if name.lower() in wanted}
        return Answer(status=answer.status, body=answer.read(), headers=kept)
    finally:
        connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # for a client that keeps its connection and says nothing
    disable_nagle_algorithm = True
    server: "_Server"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        front = self.server.front
        path, _, query = self.path.partition("?")
        request = ApiRequest(
            method=self.command,
            path=path,
            query=query,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self._body(),
        )
        front.requests.append(request)
        fault = front.fault(request) or Fault()
        if fault.delay and front.stopped.wait(fault.delay):
            fault = Fault(lost="asked")
        if fault.lost != "asked":
            failed = Answer.of(fault.status or 0, fault.body, fault.headers)
            answer = failed if fault.status is not None else front.answer(request)
            if fault.lost is None:
                self._send(answer)
                return
        self.close_connection = True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    front: Front

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed in mid-sentence is no error here."""


@contextmanager
def listening() -> Iterator[tuple[int, "_Server"]]:
    """A server on a free port that answers as soon as it has its `front`."""
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1], server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
