"""Which processes run here, and what each of them is told."""

from pathlib import Path

import pytest

from claude_run.local.services import SCRIPTED_KEY, Service, has_key, services
from claude_run.wire import SECRET_PATTERN
from gateway.limit_settings import MICROS, LimitSettings
from gateway.setup.settings import SetupSettings

STATE = Path("/home/me/state")
ADDRESSES = {"model": "http://127.0.0.1:1234", "runner": "http://127.0.0.1:1235"}


def gateway(*, port: int = 0) -> Service:
    """The last of them: it has to know the others."""
    return services({}, port=port, state=STATE)[-1]


def test_without_a_key_the_scripted_model_comes_first() -> None:
    """And the runner is told where it is, with a key that is none."""
    ours = {"PATH": "/bin", "CLAUDE_CODE_OAUTH_TOKEN": ""}
    model, runner, last = services(ours, port=0, state=STATE)
    assert (model.module, runner.module) == ("runner.scripted", "runner")
    assert last.module == "functions_framework"
    assert runner.environ({"PATH": "/bin"}, ADDRESSES) == {
        "PATH": "/bin",
        "HOST": "127.0.0.1",
        "PORT": "0",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:1234",
        "ANTHROPIC_API_KEY": SCRIPTED_KEY,
    }
    assert SECRET_PATTERN.fullmatch(SCRIPTED_KEY)


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"])
def test_with_a_key_the_real_model_answers(name: str) -> None:
    """The key reaches the runner's environment and no command line."""
    ours = {name: "planted-secret", "ANTHROPIC_BASE_URL": "https://proxy.example"}
    assert has_key(ours)
    runner, last = services(ours, port=8080, state=STATE)
    assert runner.environ(ours, {}) == {**ours, "HOST": "127.0.0.1", "PORT": "0"}
    assert "planted" not in f"{runner}{last}"
    told = last.environ(ours, {"runner": "http://127.0.0.1:1235"})
    assert "planted" not in f"{told}"
    assert "MAX_DAILY_TOKENS" not in told


def test_the_runner_listens_on_this_machine_only() -> None:
    """Whatever HOST says: some shells set it to the machine's name."""
    ours = {"HOST": "my-laptop", "PORT": "1"}
    runner = services(ours, port=2, state=STATE)[1]
    assert runner.environ(ours, ADDRESSES)["HOST"] == "127.0.0.1"


def test_the_gateway_is_told_of_the_runner_and_of_its_folder() -> None:
    """And of no other store, whatever the environment says; the port is on the command line."""
    ours = {"STORE_URL": "firestore://live/main", "RUNNER_URL": "https://live", "DEBUG": "1"}
    told = gateway().environ(ours, ADDRESSES)
    assert told["STORE_URL"] == "sqlite:///home/me/state/gateway.db"
    assert told["VAULT_URL"] == "file:///home/me/state/vault"
    assert told["RUNNER_URL"] == "http://127.0.0.1:1235"
    assert "DEBUG" not in told
    arguments = gateway(port=8080).arguments
    assert arguments[arguments.index("--host") + 1] == "127.0.0.1"
    assert arguments[arguments.index("--port") + 1] == "8080"
    assert Path(arguments[arguments.index("--source") + 1]).is_file()


def test_a_day_with_the_scripted_model_ends_at_no_quota() -> None:
    """Nobody pays it; a quota that the environment names is kept."""
    told = gateway().environ({"MAX_DAILY_TOKENS": "7"}, ADDRESSES)
    assert told["MAX_DAILY_TOKENS"] == "7"
    assert LimitSettings.from_environ(told).daily_micros == 1_000_000 * MICROS


def test_a_key_is_tried_where_it_would_be_used() -> None:
    """With the scripted model there, whatever the environment says; else where it says."""
    ours = {"ANTHROPIC_BASE_URL": "https://proxy.example"}
    told = gateway().environ(ours, ADDRESSES)
    assert SetupSettings.from_environ(told).anthropic_url == ADDRESSES["model"]
    told = gateway().environ(ours, {"runner": "http://127.0.0.1:1235"})
    assert SetupSettings.from_environ(told).anthropic_url == "https://proxy.example"


@pytest.mark.parametrize(
    ("index", "line"),
    [
        (0, '{"url": "http://127.0.0.1:4000"}'),
        (1, "claude-run runner on http://127.0.0.1:4000"),
        (2, "[2026-01-01 00:00:00 +0000] [17] [INFO] Listening at: http://127.0.0.1:4000 (17)"),
    ],
)
def test_the_line_that_says_ready_holds_the_address(index: int, line: str) -> None:
    """And only the whole line does, not one that quotes it."""
    ready = services({}, port=0, state=STATE)[index].ready
    found = ready.fullmatch(line)
    assert found is not None
    assert found[1] == "http://127.0.0.1:4000"
    assert ready.fullmatch(f"log: {line}") is None
