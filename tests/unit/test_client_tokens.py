"""Identity tokens: where they come from, how long they are kept, and whom they are sent to.

Google's token server and `gcloud` are replaced by a local server and a script; google-auth and the
processes are real.
"""

import base64
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from claude_run import Client
from claude_run.endpoint import Endpoint
from claude_run.errors import Code, ConfigurationError, UpstreamError
from claude_run.idtoken import IdToken
from claude_run.tokens import (
    RENEW_BEFORE_SECONDS,
    IdentityTokens,
    fetch_identity_token,
    token_source,
)

AUDIENCE = "https://runner.test"
NOW = 1_800_000_000.0


def jwt(**claims: object) -> str:
    """A token that says something; nobody here looks at its signature."""
    parts = (json.dumps({"alg": "RS256"}).encode(), json.dumps(claims).encode(), b"signature")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@dataclass
class Issuer:
    """Gives out tokens that live for an hour of a clock that the test turns."""

    now: float = NOW
    asked: list[str] = field(default_factory=list)
    lifetime: float = 3600.0

    def fetch(self, audience: str) -> str:
        """A new token."""
        self.asked.append(audience)
        return jwt(exp=self.now + self.lifetime, n=len(self.asked))


def tokens_of(issuer: Issuer) -> IdentityTokens:
    return IdentityTokens(AUDIENCE, fetch=issuer.fetch, clock=lambda: issuer.now)


# --- kept ---------------------------------------------------------------------------------------


def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    """One fetch an hour; the last five minutes belong to the next one."""
    issuer = Issuer()
    tokens = tokens_of(issuer)
    first = tokens()
    issuer.now += 3600 - RENEW_BEFORE_SECONDS - 1
    assert tokens() == first
    issuer.now += 1
    assert tokens() != first
    assert issuer.asked == [AUDIENCE, AUDIENCE]


@pytest.mark.parametrize("lifetime", [0, RENEW_BEFORE_SECONDS - 1, -3600])
def test_a_token_that_ends_soon_is_used_once(lifetime: float) -> None:
    """Some sources hand out what they have; it is not kept."""
    issuer = Issuer(lifetime=lifetime)
    tokens = tokens_of(issuer)
    assert tokens() != tokens()


@pytest.mark.parametrize("token", ["opaque", jwt(), jwt(exp="soon"), jwt(exp=None), "a.b.c"])
def test_a_token_that_does_not_say_its_end_is_not_kept(token: str) -> None:
    """Whatever it is, the server will judge it."""
    asked: list[str] = []

    def fetch(audience: str) -> str:
        asked.append(audience)
        return token

    tokens = IdentityTokens(AUDIENCE, fetch=fetch)
    assert [tokens(), tokens()] == [token, token]
    assert len(asked) == 2


def test_threads_share_one_fetch() -> None:
    """Fifty calls at once ask once."""
    issuer = Issuer()

    def slowly(audience: str) -> str:
        time.sleep(0.05)
        return issuer.fetch(audience)

    tokens = IdentityTokens(AUDIENCE, fetch=slowly, clock=lambda: issuer.now)
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(tokens())) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 50
    assert len(set(seen)) == len(issuer.asked) == 1


def test_a_failed_fetch_is_not_kept() -> None:
    """The next call tries again."""
    answers: list[str | None] = [None, jwt(exp=NOW + 3600)]

    def fetch(_audience: str) -> str:
        answer = answers.pop(0)
        if answer is None:
            raise UpstreamError("later", code=Code.UNAVAILABLE)
        return answer

    tokens = IdentityTokens(AUDIENCE, fetch=fetch, clock=lambda: NOW)
    with pytest.raises(UpstreamError):
        tokens()
    assert tokens()


# --- for whom -----------------------------------------------------------------------------------


def test_a_client_sends_identity_to_the_outside_only() -> None:
    """Loopback gets none unless it is given one; the audience is the base URL, or as told."""
    away, here = Endpoint.parse("https://runner.test/"), Endpoint.parse("http://127.0.0.1:1")
    assert token_source(None, here, None) is None
    assert token_source(None, here, AUDIENCE) is None
    for endpoint in (away, here):
        explicit = token_source("mine", endpoint, None)
        assert explicit is not None
        assert explicit() == "mine"
    google = token_source(None, away, None)
    assert isinstance(google, IdentityTokens)
    assert google._audience == "https://runner.test"
    other = token_source(None, away, "https://other.test")
    assert isinstance(other, IdentityTokens)
    assert other._audience == "https://other.test"


def test_making_a_client_fetches_nothing(home: Path) -> None:
    """The first request does: a client may be made where there is no login."""
    assert home.is_dir()
    with Client("https://runner.test") as client:
        assert repr(client) == "Client('https://runner.test')"


# --- from where ---------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Google: no account, no gcloud, no metadata server to look for."""
    names = ("GOOGLE_APPLICATION_CREDENTIALS", "K_SERVICE", "CLOUD_RUN_JOB", "GCE_METADATA_HOST")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    # google-auth reads these when its module is imported, so its variables come too late here.
    monkeypatch.setattr("google.auth.compute_engine._metadata.ping", lambda _request: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def gcloud(home: Path, script: str) -> Path:
    """A `gcloud` that notes its arguments and does as the script says."""
    program = home / "gcloud"
    program.write_text(f'#!/bin/sh\necho "$@" >> "{home}/calls"\n{script}\n')
    program.chmod(0o755)
    return home / "calls"


class TokenServer(HTTPServer):
    """Google's token endpoint: exchanges a signed assertion for an identity token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), TokenHandler)
        self.assertions: list[IdToken] = []
        self.status = 200
        self.token = jwt(exp=time.time() + 3600, aud=AUDIENCE)


class TokenHandler(BaseHTTPRequestHandler):
    """One exchange."""

    server: TokenServer

    def do_POST(self) -> None:
        """Answer with the token, or with an error that holds the assertion."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assertion = form["assertion"][0]
        self.server.assertions.append(IdToken.parse(assertion))
        answer = {"id_token": self.server.token} if self.server.status == 200 else {"error": "no"}
        body = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def token_server() -> Iterator[TokenServer]:
    """A token endpoint on loopback."""
    server = TokenServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture
def key_file(home: Path, token_server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service account's key file, as an operator hands it out."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = home / "service_account.json"
    info = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k",
        "private_key": pem.decode(),
        "client_email": "caller@p.iam.gserviceaccount.com",
        "token_uri": f"http://127.0.0.1:{token_server.server_port}/token",
    }
    path.write_text(json.dumps(info))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return path


@pytest.mark.usefixtures("key_file")
def test_a_service_accounts_key_file_is_used_first(home: Path, token_server: TokenServer) -> None:
    """As the reference says; the token is asked for our audience, and gcloud is not called."""
    calls = gcloud(home, "echo from-gcloud")
    assert fetch_identity_token(AUDIENCE) == token_server.token
    assert token_server.assertions[0].claims["target_audience"] == AUDIENCE
    assert not calls.exists()


@pytest.mark.usefixtures("key_file")
def test_google_out_of_order_is_not_the_users_fault(home: Path, token_server: TokenServer) -> None:
    """UNAVAILABLE, and no other account is tried in its place."""
    calls = gcloud(home, "echo from-gcloud")
    token_server.status = 400
    with pytest.raises(UpstreamError) as caught:
        fetch_identity_token(AUDIENCE)
    assert caught.value.code is Code.UNAVAILABLE
    assert not calls.exists()


def test_gcloud_is_asked_for_the_audience(home: Path) -> None:
    """What its account can do if it is a service account."""
    calls = gcloud(home, "echo token-for-audience")
    assert fetch_identity_token(AUDIENCE) == "token-for-audience"
    assert calls.read_text() == f"auth print-identity-token --quiet --audiences={AUDIENCE}\n"


def test_a_developers_login_is_good_enough(home: Path) -> None:
    """A person's account refuses an audience and has a token all the same."""
    calls = gcloud(home, 'case "$*" in *--audiences*) exit 1;; esac\necho a-persons-token')
    assert fetch_identity_token(AUDIENCE) == "a-persons-token"
    assert len(calls.read_text().splitlines()) == 2


def test_a_key_file_of_another_kind_leaves_gcloud(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person's application-default login makes no identity tokens."""
    path = home / "adc.json"
    path.write_text('{"type": "authorized_user"}')
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    gcloud(home, "echo a-persons-token")
    assert fetch_identity_token(AUDIENCE) == "a-persons-token"


@pytest.mark.parametrize("script", [None, "exit 1", "true", "echo planted-secret >&2; exit 1"])
def test_without_any_account_the_ways_are_named(home: Path, script: str | None) -> None:
    """What to do, and nothing of what gcloud printed."""
    if script is not None:
        gcloud(home, script)
    with pytest.raises(ConfigurationError) as caught:
        fetch_identity_token(AUDIENCE)
    assert caught.value.code is Code.UNAUTHORIZED
    for hint in (AUDIENCE, "GOOGLE_APPLICATION_CREDENTIALS", "gcloud auth login"):
        assert hint in caught.value.message
    assert "planted-secret" not in str(caught.value)


def test_a_gcloud_that_hangs_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may wait for something; nobody waits with it for ever."""
    monkeypatch.setattr("claude_run.tokens.GCLOUD_SECONDS", 0.3)
    gcloud(home, "exec /bin/sleep 60")
    start = time.monotonic()
    with pytest.raises(ConfigurationError):
        fetch_identity_token(AUDIENCE)
    assert time.monotonic() - start < 5
