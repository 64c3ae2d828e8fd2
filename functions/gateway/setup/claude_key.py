"""The Claude key of the deployment: its form, whether it works, and when it was stored."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from claude_run.credential import CredentialKind
from claude_run.errors import CallerError, Code, UpstreamError
from claude_run.strictjson import loads_object
from gateway.deployment import COLLECTION
from gateway.store import Put, Store
from gateway.vault import Vault

if TYPE_CHECKING:
    from anthropic import APIStatusError

ANTHROPIC_KEY = "anthropic-api-key"
PATH = f"{COLLECTION.name}/claude"

# One short question; whoever waits for the page waits for it.
SECONDS = 10.0
CONNECT_SECONDS = 5.0
RETRY_AFTER_SECONDS = 30
# What Anthropic asks for beside an OAuth token.
OAUTH_BETA = "oauth-2025-04-20"

FIELD = "anthropicApiKey"
# No length of a real one is assumed; nothing shorter is one.
_FORM = re.compile(r"sk-ant-[A-Za-z0-9_-]{16,4000}")
_NARROW = re.compile(r"scope|only authorized for use with Claude Code")
_RULE = 'must begin with "sk-ant-" and go on with letters, digits, "-" and "_"'


def check_form(text: str) -> str:
    """The key or token as it will be stored, or `CallerError`, which does not repeat it."""
    key = text.strip()
    if not _FORM.fullmatch(key):
        raise CallerError(f"{FIELD}: {_RULE}.", details={"field": FIELD, "rule": _RULE})
    return key


def check_works(key: str, base_url: str) -> None:
    """Ask the model's owner something that costs nothing.

    `CallerError` where the key is refused, `UpstreamError` UNAVAILABLE where nobody can say.
    """
    # More than a second to import; nothing else needs it.
    import anthropic

    is_token = CredentialKind.of(key) is CredentialKind.OAUTH
    limits = anthropic.Timeout(SECONDS, connect=CONNECT_SECONDS)
    client = anthropic.Anthropic(
        api_key=None if is_token else key,
        auth_token=key if is_token else None,
        base_url=base_url,
        max_retries=0,
        default_headers={"anthropic-beta": OAUTH_BETA} if is_token else None,
        open_telemetry=False,
        # A key goes where it is meant to go, and not where an answer sends it.
        http_client=anthropic.DefaultHttpxClient(timeout=limits, follow_redirects=False),
    )
    try:
        with client:
            answer = client.models.with_raw_response.list(limit=1).http_response.content
    except anthropic.APIStatusError as error:
        _told(error, is_token=is_token)
    except anthropic.APIError as error:
        raise _unavailable(type(error).__name__) from None
    else:
        _check_answer(answer)


def _check_answer(answer: bytes) -> None:
    """Raise unless it is Anthropic's: the client's own models take anything for one."""
    try:
        body = loads_object(answer)
    except CallerError:
        body = {}
    if not isinstance(body.get("data"), list):
        raise _unavailable("unexpected answer")


def _told(error: "APIStatusError", *, is_token: bool) -> None:
    """What a refusal says of the key; nothing where it is none."""
    status = error.status_code
    # A token that is good for Claude Code's own requests alone may not list models: it is known.
    if is_token and status in (400, 403) and _NARROW.search(error.message):
        return
    if status not in (401, 402, 403):
        raise _unavailable(f"HTTP {status}") from None
    what = "token" if is_token else "key"
    why = "does not know this" if status == 401 else "does not let anybody use this"
    raise CallerError(
        f"{FIELD}: Anthropic {why} {what} (HTTP {status}). Nothing was stored.",
        details={"field": FIELD, "status": status},
    ) from None


def _unavailable(reason: str) -> UpstreamError:
    return UpstreamError(
        "Anthropic could not be asked whether the key works, so nothing was stored. "
        "Try again in a moment.",
        code=Code.UNAVAILABLE,
        details={"reason": reason},
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


class ClaudeKey:
    """The stored key, and when the set-up stored it."""

    def __init__(self, store: Store, vault: Vault, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    def is_stored(self) -> bool:
        """Whether runs have a key."""
        return self._vault.get(ANTHROPIC_KEY) is not None

    def stored_at(self) -> datetime | None:
        """When the set-up stored it; None of one that came by another way."""
        found = self._store.get(PATH)
        moment: datetime | None = found.data["setUpAt"] if found else None
        return moment

    def store(self, key: str) -> datetime:
        """Keep one that works. Returns when."""
        now = self._clock()
        self._vault.put(ANTHROPIC_KEY, key)
        self._store.write([Put(PATH, {"setUpAt": now})])
        return now
