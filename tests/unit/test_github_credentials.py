"""The App's credentials: the vault's, and the environment's in their place, each alone."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.github.credentials import (
    PRIVATE_KEY,
    WEBHOOK_SECRET,
    AppKey,
    app_key,
    digest,
    webhook_secrets,
)
from gateway.github.settings import GitHubSettings
from gateway.vault import Vault, open_vault


@dataclass(frozen=True, slots=True)
class Setup:
    """What the setup would have stored."""

    app_id: str = "42"
    key_digest: str = ""


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """An empty vault."""
    return open_vault(f"file://{tmp_path}/vault")


def test_two_webhook_secrets_hold_while_one_replaces_the_other(vault: Vault) -> None:
    """Newest first; none where none was stored."""
    assert webhook_secrets(GitHubSettings(), vault) == ()
    vault.put(WEBHOOK_SECRET, "old")
    vault.put(WEBHOOK_SECRET, "néw", keep_previous=True)
    assert webhook_secrets(GitHubSettings(), vault) == ("néw".encode(), b"old")


def test_the_environments_secret_holds_alone(vault: Vault) -> None:
    """What the vault holds besides signs nothing then."""
    vault.put(WEBHOOK_SECRET, "stored")
    assert webhook_secrets(GitHubSettings(webhook_secret="own"), vault) == (b"own",)


def test_each_half_of_the_key_may_stand_in_alone(vault: Vault) -> None:
    """Number and key come from the environment where it has them, else from the setup."""
    assert app_key(GitHubSettings(), vault, Setup()) is None
    assert app_key(GitHubSettings(private_key="own"), vault, None) is None
    vault.put(PRIVATE_KEY, "stored")
    assert app_key(GitHubSettings(), vault, None) is None
    stored = AppKey(app_id="42", private_key="stored")
    assert app_key(GitHubSettings(), vault, Setup()) == stored
    number = app_key(GitHubSettings(app_id="7"), vault, Setup())
    assert number == AppKey(app_id="7", private_key="stored")
    key = app_key(GitHubSettings(private_key="own"), vault, Setup())
    assert key == AppKey(app_id="42", private_key="own")


def test_the_apps_own_key_holds_while_another_apps_is_there(vault: Vault) -> None:
    """By its digest; the newest where none is known."""
    vault.put(PRIVATE_KEY, "own")
    vault.put(PRIVATE_KEY, "another", keep_previous=True)
    known = app_key(GitHubSettings(), vault, Setup(key_digest=digest("own")))
    assert known == AppKey(app_id="42", private_key="own")
    newest = app_key(GitHubSettings(), vault, Setup(key_digest=digest("gone")))
    assert newest == AppKey(app_id="42", private_key="another")


def test_a_key_shows_itself_nowhere() -> None:
    """Not in its repr."""
    assert "planted" not in repr(AppKey(app_id="42", private_key="planted"))
