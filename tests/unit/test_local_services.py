"""Which processes run here, and what each of them is told."""

import pytest

from claude_run.local.services import SCRIPTED_KEY, has_key, services
from claude_run.wire import SECRET_PATTERN

ADDRESSES = {"model": "http://127.0.0.1:1234"}


def test_without_a_key_the_scripted_model_comes_first() -> None:
    """And the runner is told where it is, with a key that is none."""
    model, runner = services({"PATH": "/bin", "CLAUDE_CODE_OAUTH_TOKEN": ""}, port=0)
    assert (model.module, runner.module) == ("runner.scripted", "runner")
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
    [runner] = services(ours, port=8080)
    assert runner.environ(ours, {}) == {**ours, "HOST": "127.0.0.1", "PORT": "8080"}
    assert "planted" not in f"{runner}"


def test_the_runner_listens_on_this_machine_only() -> None:
    """Whatever HOST says: some shells set it to the machine's name."""
    ours = {"HOST": "my-laptop", "PORT": "1"}
    assert services(ours, port=2)[-1].environ(ours, ADDRESSES)["HOST"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("index", "line"),
    [
        (0, '{"url": "http://127.0.0.1:4000"}'),
        (1, "claude-run runner on http://127.0.0.1:4000"),
    ],
)
def test_the_line_that_says_ready_holds_the_address(index: int, line: str) -> None:
    """And only the whole line does, not one that quotes it."""
    ready = services({}, port=0)[index].ready
    found = ready.fullmatch(line)
    assert found is not None
    assert found[1] == "http://127.0.0.1:4000"
    assert ready.fullmatch(f"log: {line}") is None
