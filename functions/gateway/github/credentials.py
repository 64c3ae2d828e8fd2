"""The App's credentials: their names in the vault, and what stands in for them."""

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

from gateway.github.settings import GitHubSettings
from gateway.vault import Vault

PRIVATE_KEY = "github-private-key"
WEBHOOK_SECRET = "github-webhook-secret"  # noqa: S105 - a name
CLIENT_SECRET = "github-client-secret"  # noqa: S105 - a name


class StoredApp(Protocol):
    """What the setup has stored of the App, as far as its credentials go."""

    @property
    def app_id(self) -> str:
        """The App's number."""

    @property
    def key_digest(self) -> str:
        """Of its private key, as `digest` tells it; empty where nobody has noted it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppKey:
    """By what GitHub knows the App: its number and its private key in PEM."""

    app_id: str
    private_key: str = field(repr=False)


def webhook_secrets(settings: GitHubSettings, vault: Vault) -> tuple[bytes, ...]:
    """The secrets that may have signed a delivery, newest first; none: no App is set up.

    The environment's alone, where it has one: who brings an App of their own has no other.
    """
    if settings.webhook_secret is not None:
        return (settings.webhook_secret.encode(),)
    return tuple(secret.encode() for secret in vault.get_all(WEBHOOK_SECRET))


def app_key(settings: GitHubSettings, vault: Vault, setup: StoredApp | None) -> AppKey | None:
    """The App's key, or None where half of it or all is missing."""
    app_id = settings.app_id or (setup.app_id if setup is not None else None)
    private_key = settings.private_key or _stored_key(vault, setup)
    if app_id is None or private_key is None:
        return None
    return AppKey(app_id=app_id, private_key=private_key)


def digest(secret: str) -> str:
    """What tells one key or secret from another, and nothing of either: both are chance."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _stored_key(vault: Vault, setup: StoredApp | None) -> str | None:
    """The App's own of those in the vault, else the newest.

    While one App takes another's place the new key is there before the new App is known, and
    stays there alone where the set-up crashes in between.
    """
    found = vault.get_all(PRIVATE_KEY)
    own = [key for key in found if setup is not None and digest(key) == setup.key_digest]
    return next(iter((*own, *found)), None)
