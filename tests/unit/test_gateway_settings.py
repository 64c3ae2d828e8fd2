"""The gateway's environment: what is default where, and everything wrong at once."""

import pytest

from claude_run.errors import ConfigurationError
from claude_run.identity import Mode
from gateway.settings import LOCAL_RUNNER, Settings

LOCAL = {"HOME": "/home/me"}
CLOUD = {
    "K_SERVICE": "api",
    "AUTH": "iam",
    "GOOGLE_CLOUD_PROJECT": "my-project",
    "WORKER_JOB": "projects/my-project/locations/europe-west1/jobs/worker",
}


def wrong(environ: dict[str, str], *, loopback: bool = True) -> str:
    """What is said of an environment that cannot be used."""
    with pytest.raises(ConfigurationError) as raised:
        Settings.from_environ(environ, loopback=loopback)
    return raised.value.message


def test_a_laptop_needs_nothing() -> None:
    """State and secrets below the home, the runner beside it, no authentication."""
    settings = Settings.from_environ(LOCAL, loopback=True)
    assert settings.store_url == "sqlite:///home/me/.claude-run/gateway.db"
    assert settings.vault_url == "file:///home/me/.claude-run/vault"
    assert settings.runner_url == LOCAL_RUNNER
    assert settings.auth.mode is Mode.LOCAL
    assert settings.allowed_origins == frozenset()


def test_a_deployment_uses_its_project() -> None:
    """The cloud pair; only the runner has to be named."""
    settings = Settings.from_environ(
        CLOUD | {"RUNNER_URL": "https://runner-123.europe-west1.run.app"}, loopback=False
    )
    assert settings.store_url == "firestore://my-project/(default)"
    assert settings.vault_url == "secretmanager://my-project"
    assert settings.on_cloud
    assert wrong(CLOUD, loopback=False) == "RUNNER_URL is missing"


def test_everything_wrong_is_named_at_once() -> None:
    """One start tells all; no value is repeated."""
    message = wrong(
        {
            "STORE_URL": "mysql://planted@host",
            "VAULT_URL": "file://relative",
            "RUNNER_URL": "ftp://planted@host",
            "RUNNER_SERVICE": "runner",
            "AUTH": "maybe",
            "ALLOWED_ORIGINS": "https://a.example/path",
            "CALLER_REPOSITORIES": "[]",
            "RATE_LIMIT_PER_MINUTE": "0",
            "RUN_BUDGET_USD": "x",
            "WEBHOOK_URL": "http://planted.example/webhooks/github",
            "ANTHROPIC_BASE_URL": "http://planted.example",
        }
    )
    for name in (
        "STORE_URL",
        "VAULT_URL",
        "RUNNER_URL",
        "RUNNER_SERVICE",
        "AUTH",
        "ALLOWED_ORIGINS",
        "CALLER_REPOSITORIES",
        "RATE_LIMIT_PER_MINUTE",
        "RUN_BUDGET_USD",
        "WEBHOOK_URL",
        "ANTHROPIC_BASE_URL",
    ):
        assert name in message
    assert "planted" not in message


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "example.com",
        "https://",
        "https://a.example/",
        "https://A.example",
        "ftp://a.example",
        "https://u@a.example",
        "https://a.example:x",
        "https://*.example",
        "null",
    ],
)
def test_an_origin_is_what_a_browser_sends(origins: str) -> None:
    """Anything else would never match, or match too much."""
    assert "ALLOWED_ORIGINS" in wrong(LOCAL | {"ALLOWED_ORIGINS": origins})


def test_origins_are_a_list() -> None:
    """Separated by commas or spaces."""
    text = "https://a.example, http://localhost:3000 https://b.example:8443"
    settings = Settings.from_environ(LOCAL | {"ALLOWED_ORIGINS": text}, loopback=True)
    assert settings.allowed_origins == set(text.replace(",", "").split())


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "1",
        '{"a@b.c": "o/r"}',
        '{"a@b.c": ["o"]}',
        '{"ab": ["o/r"]}',
        '{"a@b.c": [1]}',
        "[" * 100_000,
    ],
)
def test_repositories_of_callers_that_cannot_be_read(text: str) -> None:
    """JSON: e-mail → list of `owner/name`."""
    assert "CALLER_REPOSITORIES" in wrong(LOCAL | {"CALLER_REPOSITORIES": text})


def test_repositories_of_callers() -> None:
    """E-mail addresses are compared in lower case."""
    text = '{"A@Example.com": ["o/r", "o/s"]}'
    settings = Settings.from_environ(LOCAL | {"CALLER_REPOSITORIES": text}, loopback=True)
    assert settings.caller_repositories == {"a@example.com": {"o/r", "o/s"}}


def test_without_loopback_somebody_must_authenticate() -> None:
    """Bound to every address, and no AUTH: it does not start."""
    assert "AUTH is missing" in wrong(LOCAL, loopback=False)
