"""Identity tokens for calling a service: where they come from, and how long they are kept."""

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping

from claude_run.endpoint import Endpoint
from claude_run.errors import ClaudeRunError, Code, ConfigurationError, UpstreamError
from claude_run.idtoken import IdToken

# Google's live an hour. One this close to its end is not sent any more: the request may have to
# wait for an instance to start before somebody checks it.
RENEW_BEFORE_SECONDS = 300.0
GCLOUD_SECONDS = 30.0

# Visible ASCII: an HTTP header carries no more, and what the HTTP library refuses it also quotes.
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
# With one of these, google-auth knows an account of this machine's own.
_GOOGLE_ENVIRONMENT = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "K_SERVICE",
    "CLOUD_RUN_JOB",
    "GCE_METADATA_HOST",
)

TokenSource = Callable[[], str]


def token_source(
    token: str | TokenSource | None, endpoint: Endpoint, audience: str | None
) -> TokenSource | None:
    """The source of a client's tokens; None: it sends none.

    An explicit token, or a function that returns one at each call, is used anywhere. Without
    one, a loopback server gets none, and any other gets Google's for `audience`.
    """
    if callable(token):
        return token
    if token is not None:
        return lambda: token
    if endpoint.loopback:
        return None
    return IdentityTokens(audience or endpoint.base_url)


def authorization(token: str) -> dict[str, str]:
    """The header that carries a token."""
    if not _TOKEN.fullmatch(token):
        raise ConfigurationError("The identity token is empty or holds spaces or line breaks")
    return {"Authorization": f"Bearer {token}"}


class IdentityTokens:
    """Google's identity tokens for one audience, fetched when needed and kept; for any thread."""

    def __init__(
        self,
        audience: str,
        *,
        fetch: Callable[[str], str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._audience = audience
        self._fetch = fetch or fetch_identity_token
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = 0.0

    def __call__(self) -> str:
        """A token with at least `RENEW_BEFORE_SECONDS` to live; blocks while one is fetched."""
        with self._lock:
            if self._clock() >= self._good_until:
                self._token = self._fetch(self._audience)
                self._good_until = _expiry(self._token) - RENEW_BEFORE_SECONDS
            return self._token


def _expiry(token: str) -> float:
    """When a token says that it expires; 0, which is never kept, where it says nothing."""
    try:
        expiry = IdToken.parse(token).claims.get("exp")
    except ClaudeRunError:
        return 0.0
    return float(expiry) if isinstance(expiry, int | float) else 0.0


def fetch_identity_token(audience: str, environ: Mapping[str, str] = os.environ) -> str:
    """A new identity token of whoever runs this, or `ConfigurationError` that says how to get one.

    google-auth speaks for service accounts: a key file, impersonation, the metadata server. It
    makes no identity token from a developer's own login; `gcloud` does, and is asked first on
    machines that show no sign of a service account, because to look for a metadata server that
    is not there takes google-auth several seconds.
    """
    sources = [_from_gcloud, _from_google]
    if any(environ.get(name) for name in _GOOGLE_ENVIRONMENT):
        sources.reverse()
    for source in sources:
        token = source(audience)
        if token:
            return token
    raise ConfigurationError(
        f"There is no identity token for {audience}: name a service account's key file in "
        "GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth login`, or pass a token",
        code=Code.UNAUTHORIZED,
    )


def _from_google(audience: str) -> str | None:
    from google.auth import exceptions
    from google.auth.transport.requests import Request
    from google.oauth2 import id_token

    request = Request()
    try:
        credentials = id_token.fetch_id_token_credentials(  # type: ignore[no-untyped-call]
            audience, request
        )
        credentials.refresh(request)
    except exceptions.DefaultCredentialsError:
        return None
    except exceptions.GoogleAuthError as error:
        raise UpstreamError(
            f"Google gave no identity token ({type(error).__name__})", code=Code.UNAVAILABLE
        ) from error
    token: str | None = credentials.token
    return token


def _from_gcloud(audience: str) -> str | None:
    """gcloud's token: for the audience where its account is a service account, else its own.

    A person's token has gcloud's client id as its audience, and Cloud Run accepts that; to ask
    for another audience is an error for such an account.
    """
    program = shutil.which("gcloud")
    if program is None:
        return None
    for option in ([f"--audiences={audience}"], []):
        try:
            done = subprocess.run(
                [program, "auth", "print-identity-token", "--quiet", *option],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=GCLOUD_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip()
    return None
