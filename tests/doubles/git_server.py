"""GitHub's git side: real repositories, served by the real `git http-backend`, on loopback.

It can ask for a token, answer with a redirect or an error, or never answer, and it keeps what
it was asked.
"""

import base64
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_CHUNK = 64 << 10
_AUTHOR: Mapping[str, str] = {
    "PATH": os.environ["PATH"],
    "HOME": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ann Author",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann Author",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request that reached the server."""

    method: str
    path: str
    authorization: str | None


def git(*args: str, cwd: Path, stdin: bytes = b"") -> str:
    """Run git as the author of a repository would, and return what it prints."""
    done = subprocess.run(
        ["git", *args], cwd=cwd, env=dict(_AUTHOR), input=stdin, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout.decode("utf-8", "surrogateescape").strip()


@dataclass(slots=True)
class Origin:
    """A repository as its author has it; `commit` also publishes it to the server."""

    folder: Path
    bare: Path

    def write(self, path: str, content: bytes | str, *, mode: int = 0o644) -> None:
        """Put a file into the author's work tree."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def commit(self, message: str = "A commit") -> str:
        """Commit everything there is, ignored or not, publish it, and return its id."""
        git("add", "--all", "--force", ".", cwd=self.folder)
        git("commit", "--quiet", "--allow-empty", "-m", message, cwd=self.folder)
        self.publish()
        return git("rev-parse", "HEAD", cwd=self.folder)

    def publish(self) -> None:
        """Push every branch and tag of the author's."""
        every = ("refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*")
        git("push", "--quiet", "--force", str(self.bare), *every, cwd=self.folder)


@dataclass(slots=True)
class GitServer:
    """The server's address, repositories, behaviour and memory."""

    root: Path
    port: int = 0
    token: str | None = None
    redirect_to: str | None = None
    status: int | None = None
    delay: float = 0.0
    requests: list[Request] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def host(self) -> str:
        """Host and port, as an allow-list names them."""
        return f"127.0.0.1:{self.port}"

    def url(self, name: str) -> str:
        """Where the repository `name` is cloned from."""
        return f"http://{self.host}/{name}"

    def create(self, name: str, *, object_format: str = "sha1") -> Origin:
        """A new, empty repository `owner/name`, and its author's work tree."""
        bare = self.root / "served" / name
        folder = self.root / "authors" / name
        for place, flags in ((bare, ["--bare"]), (folder, [])):
            place.mkdir(parents=True)
            form = f"--object-format={object_format}"
            git("init", "--quiet", "--template=", "-b", "main", form, *flags, ".", cwd=place)
        # GitHub gives any commit away that it has, by id.
        git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=bare)
        return Origin(folder, bare)

    def is_allowed(self, authorization: str | None) -> bool:
        """Whether a request may see the repositories."""
        if self.token is None:
            return True
        wanted = base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
        return authorization == f"Basic {wanted}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # for a client that keeps its connection and says nothing
    server: "_Server"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        git_server = self.server.git_server
        authorization = self.headers.get("Authorization")
        git_server.requests.append(
            Request(method=self.command, path=self.path, authorization=authorization)
        )
        body = self._body()
        if git_server.delay and git_server.stopped.wait(git_server.delay):
            self.close_connection = True
        elif git_server.redirect_to is not None:
            self._answer(302, {"Location": git_server.redirect_to + self.path})
        elif git_server.status is not None:
            self._answer(git_server.status, {})
        elif not git_server.is_allowed(authorization):
            self._answer(401, {"WWW-Authenticate": 'Basic realm="git"'})
        else:
            self._backend(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def _answer(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _backend(self, body: bytes) -> None:
        """Run `git http-backend` as CGI (RFC 3875) and stream what it answers."""
        path, _, query = self.path.partition("?")
        env = {
            **_AUTHOR,
            "GIT_PROJECT_ROOT": str(self.server.git_server.root / "served"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        with subprocess.Popen(
            ["git", "http-backend"],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as backend:
            assert backend.stdin is not None
            assert backend.stdout is not None
            # It reads its whole input before it answers, so one after the other cannot lock.
            try:
                backend.stdin.write(body)
                backend.stdin.close()
                self._stream(backend)
            except (BrokenPipeError, ConnectionResetError):
                # The client was killed, as some tests have it.
                self.close_connection = True
                backend.kill()

    def _stream(self, backend: "subprocess.Popen[bytes]") -> None:
        assert backend.stdout is not None
        status, headers = 200, []
        while line := backend.stdout.readline().strip().decode("latin-1"):
            name, _, value = line.partition(":")
            if name.lower() == "status":
                status = int(value.split()[0])
            else:
                headers.append((name, value.strip()))
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        # No length is known: the end of the connection ends the body.
        self.send_header("Connection", "close")
        self.end_headers()
        while chunk := backend.stdout.read1(_CHUNK):  # type: ignore[attr-defined]
            self.wfile.write(chunk)
        self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    git_server: GitServer

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed in mid-sentence is no error here."""


@contextmanager
def serve_git(root: Path) -> Iterator[GitServer]:
    """A git server on a free port, with its repositories beneath `root`."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.git_server = GitServer(root=root, port=server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.git_server
    finally:
        server.git_server.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()


def wait_for_requests(server: GitServer, number: int, *, seconds: float = 10.0) -> None:
    """Return as soon as the server has had that many requests."""
    deadline = time.monotonic() + seconds
    while len(server.requests) < number:
        assert time.monotonic() < deadline, "the requests did not come"
        time.sleep(0.01)
