"""The one server that gcloud reaches all APIs through, as a proxy does: whole URLs in requests."""

import json
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from doubles.control_plane.network import OURS
from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import Call, Refusal

# The APIs by the names that gcloud's settings have for them.
OVERRIDES = {
    "ARTIFACTREGISTRY": "artifactregistry",
    "CLOUDBILLING": "cloudbilling",
    "CLOUDBUILD": "cloudbuild",
    "CLOUDRESOURCEMANAGER": "cloudresourcemanager",
    "CLOUDSCHEDULER": "cloudscheduler",
    "FIRESTORE": "firestore",
    "IAM": "iam",
    "RUN": "run",
    "SECRETMANAGER": "secretmanager",
    "SERVICEUSAGE": "serviceusage",
    "STORAGE": "storage",
}
# Where the services that are deployed answer.
DOMAIN = "app.test"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def _answer(self) -> None:
        call = _call(self.command, self.path, dict(self.headers), self._body())
        headers: Mapping[str, str] = {}
        try:
            with self.server.lock:
                status, body = 200, self.server.plane.answer(call)
            if call.api == "network":
                headers = OURS
        except Refusal as refusal:
            status, body, headers = refusal.code, refusal.body, refusal.headers
        except Exception as error:  # noqa: BLE001 - a mistake in here must not look like a retry
            traceback.print_exc()
            status, body = 400, {"error": {"code": 400, "message": f"The double: {error!r}"}}
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(204 if body is None else status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        chunks = bytearray()
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(chunks)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

    def log_message(self, *_arguments: object) -> None:
        """Nothing: `ControlPlane.calls` has it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, plane: ControlPlane) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plane = plane
        self.lock = threading.RLock()

    def handle_error(self, *_arguments: object) -> None:
        """A client that was killed is no error of the server's."""


def _call(method: str, url: str, headers: dict[str, str], raw: bytes) -> Call:
    parts = urlsplit(url)
    host = parts.hostname or ""
    # `us-central1-run.test` is the same API for one region.
    api = "network" if host.endswith(DOMAIN) else host.partition(".")[0].rpartition("-")[2]
    kind = headers.get("content-type", headers.get("Content-Type", ""))
    body: Any = None
    if raw and kind.startswith("application/json"):
        body = json.loads(raw)
    return Call(
        method=method,
        api=api,
        path=parts.path,
        query=dict(parse_qsl(parts.query)),
        headers={name.lower(): value for name, value in headers.items()},
        body=body,
        raw=raw,
        host=host,
    )


@contextmanager
def serve(plane: ControlPlane) -> Iterator[Mapping[str, str]]:
    """Serve; the environment by which gcloud and curl find it."""
    server = _Server(plane)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    port = str(server.server_address[1])
    try:
        yield {
            "CLOUDSDK_PROXY_TYPE": "http",
            "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
            "CLOUDSDK_PROXY_PORT": port,
            "CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "1",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            "CLOUDSDK_SURVEY_DISABLE_PROMPTS": "1",
            "http_proxy": f"http://127.0.0.1:{port}",
        } | {
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": f"http://{api}.test/"
            for name, api in OVERRIDES.items()
        }
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
