"""The way to GitHub: as the App, as one of its installations, as a caller.

What it gives is PyGithub's, with time-outs, bounded retries and tokens that are renewed. Put
calls into `failures.translated()`.
"""

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from github import Auth, Github, GithubException, GithubIntegration
from github.Repository import Repository
from jwt.exceptions import PyJWTError

from claude_run import __version__
from claude_run.errors import CallerError, Code, ConfigurationError, UpstreamError
from claude_run.wire import SECRET_PATTERN
from gateway.github.asked import RepositoryRef
from gateway.github.credentials import AppKey
from gateway.github.failures import given, said, translated
from gateway.github.patience import PATIENCE_SECONDS
from gateway.github.retries import Retries
from gateway.github.settings import API_VERSION, GitHubSettings
from gateway.github.tokens import Permissions, Token, Tokens, key_of

# For a connection, and for each silence in an answer. GitHub itself gives up after ten.
TIMEOUT_SECONDS = 15
# Each keeps a connection open.
MAX_CLIENTS = 64
# So long a repository is known by its name, as it was found.
FOUND = timedelta(minutes=5)
MAX_REFS = 256

READ: Permissions = {"metadata": "read"}


class GitHubAccess:
    """One for each process; safe under threads. Nothing is asked before the first call.

    `key` gives the App's key as it is now, or None: it may be set up, or replaced, any time.
    `patience`: seconds that one call may wait for a limit or an outage to end.
    """

    def __init__(
        self,
        *,
        settings: GitHubSettings,
        key: Callable[[], AppKey | None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._settings = settings
        self._key = key
        self._clock = clock
        self._sleep = sleep
        self._patience = patience
        self._tokens = Tokens(self._fetch, clock=clock)
        self._lock = threading.Lock()
        self._app: tuple[AppKey, GithubIntegration] | None = None
        self._clients: OrderedDict[object, Github] = OrderedDict()
        self._refs: OrderedDict[str, tuple[datetime, RepositoryRef]] = OrderedDict()
        # At DEBUG it logs answers whole, and one of them is a token.
        logging.getLogger("github").setLevel(logging.WARNING)

    def close(self) -> None:
        """End its connections. It can be used again."""
        with self._lock:
            clients, app = [*self._clients.values()], self._app
            self._clients.clear()
            self._app = None
        for client in clients:
            client.close()
        if app is not None:
            app[1].close()

    # --- as whom -----------------------------------------------------------------------------

    def app(self) -> GithubIntegration:
        """The App itself; `ConfigurationError` where none is set up, or its key is no key."""
        key = self._key()
        if key is None:
            raise ConfigurationError("No GitHub App is set up: open /gh-setup.")
        with self._lock:
            if self._app is None or self._app[0] != key:
                self._app = key, GithubIntegration(auth=_app_auth(key), **self._options())
            return self._app[1]

    def client(self, repository: RepositoryRef, permissions: Permissions) -> Github:
        """The installation, in one repository, with these permissions only.

        It may be kept for as long as a run takes: its token is renewed. Do not close it.
        """
        key = key_of(repository, permissions)
        with self._lock:
            client = self._clients.get(key)
            if client is None:
                client = Github(
                    auth=_InstallationAuth(lambda: self.token(repository, permissions)),
                    **self._options(lambda: self._tokens.forget(repository, permissions)),
                )
                self._clients[key] = client
            self._clients.move_to_end(key)
            if len(self._clients) > MAX_CLIENTS:
                # Its connections go; whoever still holds it gets new ones.
                self._clients.popitem(last=False)[1].close()
            return client

    def token(self, repository: RepositoryRef, permissions: Permissions) -> str:
        """An installation token of the same kind, for git; good for some minutes at least."""
        return self._tokens.token(repository, permissions)

    def for_token(self, token: str) -> Github:
        """Somebody's own token. Close it."""
        return Github(auth=Auth.Token(token), **self._options())

    # --- repositories ------------------------------------------------------------------------

    def repository(self, repository: RepositoryRef, permissions: Permissions) -> Repository:
        """A repository as GitHub has it now, wherever it has moved to since.

        NOT_FOUND where another one has taken its name.
        """
        client = self.client(repository, permissions)
        with translated(self._clock):
            found = client.get_repo(repository.name)
        if given(found.id) != repository.id:
            raise CallerError(f"{repository.name} is another repository now.", code=Code.NOT_FOUND)
        return found

    def find(self, name: str, *, token: str | None = None) -> RepositoryRef:
        """The repository `owner/name` by the App; NOT_FOUND where the App is not installed.

        `token`: by somebody's own; then there is no installation.
        """
        if token is not None:
            return self._found(name, token, installation=0)
        now = self._clock()
        with self._lock:
            known = self._refs.get(name)
        if known is not None and now < known[0]:
            return known[1]
        installation = self._installation(name)
        chosen = {"repositories": [name.partition("/")[2]]}
        ref = self._found(name, self._mint(name, installation, chosen, READ).value, installation)
        with self._lock:
            self._refs[name] = now + FOUND, ref
            self._refs.move_to_end(name)
            if len(self._refs) > MAX_REFS:
                self._refs.popitem(last=False)
        return ref

    def _found(self, name: str, token: str, installation: int) -> RepositoryRef:
        with self.for_token(token) as client, translated(self._clock):
            found = client.get_repo(name)
            return RepositoryRef(
                id=given(found.id),
                name=given(found.full_name),
                installation_id=installation,
                default_branch=given(found.default_branch),
            )

    # --- small things ------------------------------------------------------------------------

    def _fetch(self, repository: RepositoryRef, permissions: Permissions) -> Token:
        chosen = {"repository_ids": [repository.id]}
        installation = repository.installation_id or self._installation(repository.name)
        return self._mint(repository.name, installation, chosen, permissions)

    def _installation(self, name: str) -> int:
        owner, _, short = name.partition("/")
        app = self.app()
        try:
            with translated(self._clock):
                return app.get_repo_installation(owner, short).id
        except CallerError as error:
            raise _not_installed(name) if error.code is Code.NOT_FOUND else error from None

    def _mint(
        self, name: str, installation: int, chosen: dict[str, Any], permissions: Permissions
    ) -> Token:
        requester = self.app().requester
        path = f"/app/installations/{installation}/access_tokens"
        asked = {**chosen, "permissions": dict(permissions)}
        with translated(self._clock):
            try:
                _, answer = requester.requestJsonAndCheck("POST", path, input=asked)
            except GithubException as error:
                if error.status == 404:
                    raise _not_installed(name) from None
                if error.status == 422:
                    raise _not_permitted(name, permissions, said(error)) from None
                raise
        return _token(answer)

    def _options(self, unauthorized: Callable[[], None] = lambda: None) -> dict[str, Any]:
        return {
            "base_url": self._settings.api_url,
            "timeout": TIMEOUT_SECONDS,
            "user_agent": f"claude-run/{__version__}",
            "per_page": 100,
            "retry": Retries(
                seconds=self._patience,
                sleep=self._sleep,
                clock=self._clock,
                unauthorized=unauthorized,
            ),
            # It would sleep before each request. Who makes many paces them.
            "seconds_between_requests": None,
            "seconds_between_writes": None,
            "api_version": API_VERSION,
        }


class _InstallationAuth(Auth.Auth):
    """PyGithub asks it before each request."""

    def __init__(self, current: Callable[[], str]) -> None:
        self._current = current

    @property
    def token_type(self) -> str:
        """As in the header."""
        return "token"

    @property
    def token(self) -> str:
        """The token as it is now."""
        return self._current()


def _app_auth(key: AppKey) -> Auth.AppAuth:
    try:
        auth = Auth.AppAuth(key.app_id, key.private_key)
        auth.create_jwt()
    except (PyJWTError, ValueError, TypeError):
        # The error's own text may quote the key.
        raise ConfigurationError("The private key of the GitHub App cannot be used.") from None
    return auth


def _token(answer: Any) -> Token:  # noqa: ANN401 - GitHub's
    value = answer.get("token") if isinstance(answer, dict) else None
    until = answer.get("expires_at") if isinstance(answer, dict) else None
    known = isinstance(value, str) and SECRET_PATTERN.fullmatch(value)
    if not known or not re.fullmatch(r"[0-9TZ:.+-]{20,35}", str(until)):
        raise UpstreamError("GitHub's answer holds no token.")
    try:
        expires_at = datetime.fromisoformat(str(until))
    except ValueError:
        raise UpstreamError("GitHub's answer holds no token.") from None
    return Token(value=str(value), expires_at=expires_at.astimezone(UTC))


def _not_installed(name: str) -> CallerError:
    return CallerError(
        f"The GitHub App is not installed on {name}.",
        code=Code.NOT_FOUND,
        details={"repository": name},
    )


def _not_permitted(name: str, permissions: Permissions, reason: str) -> CallerError:
    needed = ", ".join(f"{one}: {level}" for one, level in sorted(permissions.items()))
    return CallerError(
        f"The GitHub App may not reach {name} with what this needs ({needed}). Look at the"
        " installation's repositories and permissions.",
        code=Code.FORBIDDEN,
        details={"repository": name, "github": reason},
    )
