"""The contract on Secret Manager: the real client against a local server."""

import socket
import time
from collections.abc import Callable, Iterator
from functools import partial

import grpc  # type: ignore[import-untyped]
import pytest

from claude_run.errors import Code, ConfigurationError
from doubles.secret_manager import SecretManager, State, secret_manager
from gateway.vault import Vault, VaultUnavailableError, open_vault
from gateway.vault import secret_manager as module
from vault_contract import PLANTED, VaultContract


@pytest.fixture
def server() -> Iterator[SecretManager]:
    """An empty Secret Manager."""
    with secret_manager() as server:
        yield server


@pytest.fixture
def vault(server: SecretManager) -> Vault:
    """A vault in it."""
    return open_vault(f"secretmanager://project?endpoint={server.host}")


class TestSecretManager(VaultContract):
    """The suite that files pass too."""


def test_old_versions_are_destroyed(vault: Vault, server: SecretManager) -> None:
    """The newest holds; the one before lives while "latest" may still mean it; no other does."""
    for number in range(4):
        vault.put("key", f"value-{number}")
    (versions,) = server.secrets.values()
    assert [version.state for version in versions] == [
        *[State.DESTROYED] * 2,
        *[State.ENABLED] * 2,
    ]


def test_a_secret_is_made_once(vault: Vault, server: SecretManager) -> None:
    """By the first value; later ones are versions of it."""
    vault.put("key", "one")
    vault.put("key", "two")
    assert server.calls.count("CreateSecret") == 1
    assert list(server.secrets) == ["projects/project/secrets/key"]


def test_reads_are_cached(vault: Vault, server: SecretManager) -> None:
    """A request does not pay a round trip."""
    vault.put("key", "one")
    server.calls.clear()
    assert [vault.get("key") for _ in range(10)] == ["one"] * 10
    assert server.calls == ["AccessSecretVersion"]


def test_a_secret_without_a_value(vault: Vault, server: SecretManager) -> None:
    """Made beforehand, as a deployment may, or its newest version taken away: absent."""
    server.secrets["projects/project/secrets/key"] = []
    assert vault.get("key") is None
    vault.put("key", "one")
    (versions,) = server.secrets.values()
    versions[-1].state = State.DISABLED
    assert open_vault(f"secretmanager://project?endpoint={server.host}").get("key") is None


def test_a_value_put_by_hand(vault: Vault, server: SecretManager) -> None:
    """With `gcloud secrets versions add`: as it stands, without the last line feed; or two."""
    vault.put("key", "one")
    (versions,) = server.secrets.values()
    versions[-1].data = b"by-hand\n"
    vault = open_vault(f"secretmanager://project?endpoint={server.host}")
    assert vault.get_all("key") == ("by-hand",)
    versions[-1].data = b'["new", "by-hand"]'
    vault = open_vault(f"secretmanager://project?endpoint={server.host}")
    assert vault.get_all("key") == ("new", "by-hand")


@pytest.mark.parametrize(
    ("status", "role"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "roles/secretmanager.secretAccessor"),
        (grpc.StatusCode.UNAUTHENTICATED, "credentials"),
    ],
)
def test_an_account_that_may_not(
    vault: Vault, server: SecretManager, status: grpc.StatusCode, role: str
) -> None:
    """The error says which role is missing, on what."""
    server.refuses = status
    with pytest.raises(ConfigurationError, match=role):
        vault.get("key")
    with pytest.raises(ConfigurationError, match="VAULT_URL") as caught:
        vault.put("key", PLANTED)
    assert PLANTED not in repr((caught.value, caught.value.details, caught.value.__cause__))


def test_a_blip_is_not_noticed(vault: Vault, server: SecretManager) -> None:
    """A read that met nobody is made again."""
    vault.put("key", "one")
    server.refuses, server.refuses_times = grpc.StatusCode.UNAVAILABLE, 2
    assert vault.get("key") == "one"


def test_a_write_is_sent_once(vault: Vault, server: SecretManager) -> None:
    """Whether it arrived, nobody knows."""
    vault.put("key", "one")
    server.calls.clear()
    server.refuses = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(VaultUnavailableError):
        vault.put("key", PLANTED)
    assert server.calls == ["AddSecretVersion"]


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unavailable within the deadline, with Retry-After, whether refused or met with silence."""
    monkeypatch.setattr(module, "CALL_SECONDS", 0.7)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        _check_unavailable(port)
    _check_unavailable(port)


def _check_unavailable(port: int) -> None:
    vault = open_vault(f"secretmanager://project?endpoint=127.0.0.1:{port}")
    calls: list[Callable[[], object]] = [
        partial(vault.get, "key"),
        partial(vault.put, "key", PLANTED),
    ]
    for call in calls:
        began = time.monotonic()
        with pytest.raises(VaultUnavailableError) as caught:
            call()
        assert time.monotonic() - began < 3
        error = caught.value
        assert (error.code, error.http_status) == (Code.UNAVAILABLE, 503)
        assert error.headers == {"Retry-After": "2"}
        assert PLANTED not in repr((error, error.details, error.__cause__))


def test_nothing_is_connected_before_it_is_needed() -> None:
    """`open_vault` may run before a fork."""
    vault = open_vault("secretmanager://project")
    assert vault._vault._client is None  # type: ignore[attr-defined]
