"""The App's secrets are in the vault before it is known, whatever crashes; the old App goes on."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from claude_run.errors import CallerError, Code, UpstreamError
from doubles.github_apps import PLANTED_WEBHOOK_SECRET, GitHubApps, serve_apps
from gateway.github.credentials import (
    CLIENT_SECRET,
    PRIVATE_KEY,
    WEBHOOK_SECRET,
    app_key,
    webhook_secrets,
)
from gateway.settings import CommonSettings
from gateway.setup import service
from gateway.setup.collections import COLLECTIONS
from gateway.setup.facts import Facts
from gateway.setup.service import Setup
from gateway.setup.states import STATES
from gateway.store import Store, open_store
from gateway.vault import VaultUnavailableError
from gateway.vault.files import FileVault

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ORIGIN = "https://setup.example"


class CrashError(Exception):
    """The process is gone here."""


class ObstructedVault(FileVault):
    """A real vault, with something in the way of a secret's next writes, or just before them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.obstacles: dict[str, list[Exception]] = {}
        self.before: Callable[[], None] = lambda: None

    def put(self, name: str, value: str, *, keep_previous: bool = False) -> None:
        """As a vault does, unless something is in the way."""
        self.before()
        if self.obstacles.get(name):
            raise self.obstacles[name].pop(0)
        super().put(name, value, keep_previous=keep_previous)


class Deployment:
    """A set-up with its store, its vault and its GitHub."""

    def __init__(self, folder: Path, github: GitHubApps) -> None:
        self.github = github
        self.vault = ObstructedVault(folder / "vault")
        environ = {
            "STORE_URL": f"sqlite://{folder}/g.db",
            "VAULT_URL": f"file://{folder}/vault",
            "GITHUB_SERVER_URL": github.url,
            "GITHUB_API_URL": github.url,
        }
        self.settings = CommonSettings.from_environ(environ)
        self.store: Store = open_store(
            self.settings.store_url, collections=COLLECTIONS, clock=lambda: NOON
        )
        self.setup = Setup(
            store=self.store,
            vault=self.vault,
            settings=self.settings,
            clock=lambda: NOON,
            receives=True,
        )
        self.facts = Facts(
            store=self.store, vault=self.vault, settings=self.settings.github, clock=lambda: NOON
        )

    def asked(self, replaces: str | None = None) -> Callable[[], str]:
        """GitHub has made an App; what its callback does. It gives the App's number."""
        asking = self.setup.ask(origin=ORIGIN, browser="b", organisation=None, replaces=replaces)
        code = self.github.create("octo", asking.request.manifest())
        return lambda: self.setup.finish(code, asking.state, "b").app_id

    def key(self) -> tuple[str, str] | None:
        """What GitHub would be asked with now."""
        found = app_key(self.settings.github, self.vault, self.facts.apps.record())
        return (found.app_id, found.private_key) if found is not None else None

    def pem(self, number: str) -> tuple[str, str]:
        """What it should be."""
        return number, self.github.apps[int(number)].pem


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """One that knows no App."""
    with serve_apps() as github:
        deployment = Deployment(tmp_path, github)
        yield deployment
        deployment.store.close()


SECRETS = (WEBHOOK_SECRET, PRIVATE_KEY, CLIENT_SECRET)


def test_an_app_is_set_up(deployment: Deployment) -> None:
    """All of it is there then."""
    assert deployment.key() is None
    number = deployment.asked()()
    assert deployment.key() == deployment.pem(number)
    assert webhook_secrets(deployment.settings.github, deployment.vault) == (
        PLANTED_WEBHOOK_SECRET.encode(),
    )
    record = deployment.facts.apps.record()
    assert record is not None
    assert (record.owner, record.is_organisation, record.set_up_at) == ("octo", False, NOON)


@pytest.mark.parametrize("name", SECRETS)
def test_after_a_crash_it_can_be_created_again(name: str, deployment: Deployment) -> None:
    """Half an App is none: it is not known before its secrets are there."""
    deployment.vault.obstacles[name] = [CrashError()]
    with pytest.raises(CrashError):
        deployment.asked()()
    assert deployment.facts.app().record is None
    assert deployment.key() is None
    number = deployment.asked()()
    assert deployment.key() == deployment.pem(number)


@pytest.mark.parametrize("name", SECRETS)
def test_a_crash_while_an_app_is_replaced(name: str, deployment: Deployment) -> None:
    """The old one goes on with its own key, and its deliveries are still known."""
    old = deployment.asked()()
    deployment.vault.obstacles[name] = [CrashError()]
    with pytest.raises(CrashError):
        deployment.asked(replaces=old)()
    assert deployment.key() == deployment.pem(old)
    new = deployment.asked(replaces=old)()
    assert deployment.key() == deployment.pem(new)


@pytest.mark.parametrize("name", SECRETS)
def test_many_crashes_while_an_app_is_replaced(
    name: str, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many have left their keys behind: the old one goes on with its own."""
    old = deployment.asked()()
    for number in range(3):
        monkeypatch.setattr("doubles.github_apps.PLANTED_WEBHOOK_SECRET", f"lost-{number}")
        deployment.vault.obstacles[name] = [CrashError()]
        with pytest.raises(CrashError):
            deployment.asked(replaces=old)()
        assert deployment.key() == deployment.pem(old)
        known = webhook_secrets(deployment.settings.github, deployment.vault)
        assert PLANTED_WEBHOOK_SECRET.encode() in known


def test_both_webhook_secrets_hold_while_an_app_is_replaced(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deliveries of the old one are under way."""
    old = deployment.asked()()
    monkeypatch.setattr("doubles.github_apps.PLANTED_WEBHOOK_SECRET", "the-new-secret")
    deployment.asked(replaces=old)()
    assert webhook_secrets(deployment.settings.github, deployment.vault) == (
        b"the-new-secret",
        PLANTED_WEBHOOK_SECRET.encode(),
    )


@pytest.mark.parametrize("name", SECRETS)
def test_a_vault_that_is_busy_is_asked_again(name: str, deployment: Deployment) -> None:
    """GitHub gives the key away once: it is not thrown away for a hiccup."""
    deployment.vault.obstacles[name] = [VaultUnavailableError("busy")] * 3
    number = deployment.asked()()
    assert deployment.key() == deployment.pem(number)


def test_a_vault_that_does_not_come_back(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits is told which App is of no use."""
    monkeypatch.setattr(service, "KEEP_SECONDS", 0.2)
    deployment.vault.obstacles[PRIVATE_KEY] = [VaultUnavailableError("gone")] * 1_000
    with pytest.raises(UpstreamError) as caught:
        deployment.asked()()
    assert caught.value.code is Code.UNAVAILABLE
    assert next(iter(deployment.github.apps.values())).slug in caught.value.message
    assert deployment.key() is None


def test_of_two_that_create_one_at_once_one_is_refused(deployment: Deployment) -> None:
    """And the key that is used is that of the one that is known."""
    first, second = deployment.asked(), deployment.asked()
    number = first()
    with pytest.raises(CallerError) as caught:
        second()
    assert caught.value.code is Code.CONFLICT
    assert deployment.key() == deployment.pem(number)
    # GitHub was not asked: nothing of the other one is here.
    assert deployment.vault.get_all(PRIVATE_KEY) == (deployment.pem(number)[1],)


def test_two_in_the_very_same_moment(deployment: Deployment) -> None:
    """The first one's callback runs whole just before the second one's first secret is written."""
    second = deployment.asked()
    first = deployment.asked()
    numbers: list[str] = []

    def meanwhile() -> None:
        if not numbers:
            numbers.append("")
            numbers[0] = first()

    deployment.vault.before = meanwhile
    with pytest.raises(CallerError) as caught:
        second()
    assert caught.value.code is Code.CONFLICT
    assert deployment.key() == deployment.pem(numbers[0])


def test_nothing_is_stored_before_github_has_answered(deployment: Deployment) -> None:
    """But the state that is being used; and it is free again when GitHub has failed."""
    asking = deployment.setup.ask(origin=ORIGIN, browser="b", organisation=None, replaces=None)
    code = deployment.github.create("octo", asking.request.manifest())
    deployment.github.answers.append((502, b""))
    with pytest.raises(UpstreamError):
        deployment.setup.finish(code, asking.state, "b")
    number = asking.state.partition(".")[0]
    assert deployment.store.get(f"{STATES.name}/s.{number}") is None
    assert deployment.vault.get(WEBHOOK_SECRET) is None
    assert deployment.setup.finish(code, asking.state, "b").app_id == "100000"
