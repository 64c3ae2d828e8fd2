"""GitHub, as far as an App is created and installed there: its pages, and what they lead to.

    with serve_apps() as github:
        …GITHUB_SERVER_URL=github.url, GITHUB_API_URL=github.url…

https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
"""

import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

USER = "octo"
PLANTED_WEBHOOK_SECRET = "planted-webhook-secret-0123456789abcdef"
PLANTED_CLIENT_SECRET = "planted-client-secret-0123456789abcdef"
REPOSITORIES = {11: "octo/one", 12: "octo/two"}
_NEW = re.compile(r"/(?:organizations/(?P<owner>[^/]+)/)?settings/apps/new")
# What a manifest may have, and what it must not subscribe to.
_KEYS = {
    *("name", "url", "hook_attributes", "redirect_url", "callback_urls", "setup_url"),
    *("description", "public", "default_events", "default_permissions"),
    *("request_oauth_on_install", "setup_on_update"),
}
_ALWAYS = {"installation", "installation_repositories", "ping"}


@cache
def key_pair() -> tuple[str, str]:
    """A private key and its public one, the same for every App here: making one takes a while."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@dataclass(slots=True)
class App:
    """One that somebody has created."""

    id: int
    slug: str
    owner: str
    manifest: dict[str, Any]
    pem: str
    installations: dict[int, dict[int, str]] = field(default_factory=dict)


@dataclass(slots=True)
class GitHubApps:
    """What is there, and what was asked. `answers`: what conversions say instead, once each."""

    url: str = ""
    apps: dict[int, App] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    _tokens: dict[str, tuple[int, int]] = field(default_factory=dict)

    def create(self, owner: str, manifest: dict[str, Any]) -> str:
        """A new App; the code for it."""
        number = 100_000 + len(self.apps)
        slug = manifest["name"]
        # The same key, told apart by the text behind it.
        pem = f"{key_pair()[0]}# {number}\n"
        self.apps[number] = App(id=number, slug=slug, owner=owner, manifest=manifest, pem=pem)
        code = secrets.token_hex(20)
        self.codes[code] = number
        return code

    def app(self, slug: str) -> App:
        """One by its name."""
        return next(app for app in self.apps.values() if app.slug == slug)

    def install(self, app: App, repositories: dict[int, str] | None = None) -> int:
        """Install one for its owner."""
        number = 7_000 + app.id
        app.installations[number] = REPOSITORIES if repositories is None else repositories
        return number

    # --- the API -------------------------------------------------------------------------------

    def convert(self, code: str) -> tuple[int, object]:
        """`POST /app-manifests/{code}/conversions`: once."""
        number = self.codes.pop(code, None)
        if number is None:
            return 404, {"message": "Not Found"}
        app = self.apps[number]
        has_hook = "hook_attributes" in app.manifest
        return 201, {
            "id": app.id,
            "slug": app.slug,
            "node_id": "x",
            "owner": {
                "login": app.owner,
                "id": 1,
                "type": "User" if app.owner == USER else "Organization",
            },
            "name": app.slug,
            "html_url": f"{self.url}/apps/{app.slug}",
            "client_id": "Iv1.x",
            "client_secret": PLANTED_CLIENT_SECRET,
            "webhook_secret": PLANTED_WEBHOOK_SECRET if has_hook else None,
            "pem": app.pem,
            "permissions": app.manifest["default_permissions"],
            "events": app.manifest.get("default_events", []),
        }

    def api(self, method: str, path: str, query: dict[str, str], bearer: str) -> tuple[int, object]:
        """What an App may ask."""
        if path == "/installation/repositories":
            if bearer not in self._tokens:
                return 401, {"message": "Bad credentials"}
            app_id, number = self._tokens[bearer]
            found = self.apps[app_id].installations[number]
            names = [{"id": key, "full_name": name} for key, name in found.items()]
            size, page = int(query.get("per_page", "30")), int(query.get("page", "1"))
            shown = names[size * (page - 1) : size * page]
            return 200, {"total_count": len(names), "repositories": shown}
        try:
            claims = jwt.decode(bearer, key_pair()[1], algorithms=["RS256"])
            app = self.apps[int(claims["iss"])]
        except (jwt.PyJWTError, KeyError):
            return 401, {"message": "A JSON web token could not be decoded"}
        if (method, path) == ("GET", "/app/installations"):
            known = {"app_id": app.id, "app_slug": app.slug}
            one = {"account": {"login": app.owner}, "suspended_at": None, **known}
            return 200, [{"id": number, **one} for number in app.installations]
        found_token = re.fullmatch(r"/app/installations/([0-9]+)/access_tokens", path)
        if method == "POST" and found_token and int(found_token[1]) in app.installations:
            token = f"ghs_{secrets.token_hex(20)}"
            self._tokens[token] = app.id, int(found_token[1])
            return 201, {"token": token, "expires_at": "2099-01-01T00:00:00Z"}
        return 404, {"message": "Not Found"}


def complaint(manifest: object) -> str | None:
    """What GitHub would have against a manifest."""
    if not isinstance(manifest, dict) or manifest.keys() - _KEYS:
        return "The configuration does not appear to be a valid GitHub App manifest."
    hook = manifest.get("hook_attributes")
    for name, where in (("url", manifest), ("url", hook or manifest)):
        if not str(where.get(name, "")).startswith("http"):
            return f'Error "{name}" wasn\'t supplied.'
    if hook is None and manifest.get("default_events"):
        return "Default events are not supported without a hook."
    if _ALWAYS & set(manifest.get("default_events", ())):
        return "Default events unsupported."
    if not 0 < len(str(manifest.get("name", ""))) <= 34:
        return "Name is too long."
    return None


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    protocol_version = "HTTP/1.0"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
        """Say nothing."""

    def do_GET(self) -> None:
        """A page, or the API."""
        self._serve("GET", b"")

    def do_POST(self) -> None:
        """A form, or the API."""
        self._serve("POST", self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _serve(self, method: str, body: bytes) -> None:
        github = self.server.github
        parts = urlsplit(self.path)
        github.asked.append(f"{method} {parts.path}")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if found := re.fullmatch(r"/app-manifests/([^/]+)/conversions", parts.path):
            if github.answers:
                status, text = github.answers.pop(0)
                return self._send(status, text, "application/json")
            status, value = github.convert(found[1])
            return self._send(status, json.dumps(value).encode(), "application/json")
        if found := _NEW.fullmatch(parts.path):
            return self._new(found["owner"] or USER, query, body)
        if found := re.fullmatch(r"/apps/([^/]+)/installations/new", parts.path):
            return self._install(github.app(found[1]), method)
        bearer = self.headers.get("Authorization", "").partition(" ")[2]
        status, value = github.api(method, parts.path, query, bearer)
        return self._send(status, json.dumps(value).encode(), "application/json")

    def _new(self, owner: str, query: dict[str, str], body: bytes) -> None:
        """First the form of another site, then the person's own on GitHub's page."""
        fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        confirmed = fields.get("confirmed")
        text = confirmed or fields.get("manifest", "null")
        manifest = json.loads(text)
        if (wrong := complaint(manifest)) is not None:
            return self._page(f"<h1>Invalid GitHub App configuration</h1>{escape(wrong)}", 422)
        if confirmed is None:
            return self._page(
                f'<h1>{escape(manifest["name"])}</h1><form method="post">'
                f'<input type="hidden" name="confirmed" value="{escape(text)}">'
                "<button autofocus>Create GitHub App</button></form>"
            )
        code = self.server.github.create(owner, manifest)
        back = urlencode({"code": code, "state": query.get("state", "")})
        return self._redirect(f"{manifest['redirect_url']}?{back}")

    def _install(self, app: App, method: str) -> None:
        if method == "GET":
            return self._page('<h1>Install</h1><form method="post"><button>Install</button></form>')
        number = self.server.github.install(app)
        query = urlencode({"installation_id": number, "setup_action": "install"})
        return self._redirect(f"{app.manifest['setup_url']}?{query}")

    def _page(self, text: str, status: int = 200) -> None:
        self._send(status, f"<!doctype html><title>GitHub</title>{text}".encode(), "text/html")

    def _redirect(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.end_headers()

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    github: GitHubApps


@contextmanager
def serve_apps() -> Iterator[GitHubApps]:
    """GitHub, on this machine."""
    key_pair()  # made here: two threads that want the first one at once would make two
    server = _Server(("127.0.0.1", 0), _Handler)
    # `localhost`: as PyGithub needs it for a server that is not GitHub's own.
    server.github = GitHubApps(url=f"http://localhost:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.github
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
