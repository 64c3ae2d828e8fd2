"""The command line and the order that it stands for."""

import io
from pathlib import Path

import pytest

from claude_run.cli import arguments
from claude_run.cli.run import Order
from claude_run.errors import CallerError
from claude_run.wire import build_run_request


def order(*argv: str, stdin: bytes = b"", **environ: str) -> Order:
    typed = arguments.parser().parse_args(["run", *argv])
    return arguments.order(typed, environ, io.BytesIO(stdin))


def test_a_prompt_alone_leaves_everything_to_the_server() -> None:
    """No default of ours hides one of the server's."""
    assert order("Hi") == Order(base_url="http://127.0.0.1:8080", prompt="Hi", options={})


def test_where_to_is_argument_then_environment() -> None:
    """--base-url wins over CLAUDE_RUN_URL."""
    assert order("x", CLAUDE_RUN_URL="http://[::1]:1").base_url == "http://[::1]:1"
    given = order("x", "--base-url", "https://a.example", CLAUDE_RUN_URL="http://[::1]:1")
    assert given.base_url == "https://a.example"


def test_every_option_is_a_field_of_the_request(tmp_path: Path) -> None:
    """All at once make a request that the wire model takes."""
    mcp = tmp_path / "mcp.json"
    mcp.write_text('{"mcpServers": {"a": {"command": "true"}}}')
    made = order(
        "Hi", "--repo", "octo/hello", "--branch", "b", "--commit", "a" * 40, "--model", "m",
        "--fallback-model", "n", "--system-prompt", "s", "--append-system-prompt", "t",
        "--mcp-config", str(mcp), "--allowed-tools", "Read, Bash(git log, git diff),Write",
        "--disallowed-tools", "Edit", "--permission-mode", "plan", "--max-turns", "3",
        "--timeout-minutes", "0.5", "--max-budget-usd", "1.5",
        CLAUDE_RUN_GITHUB_TOKEN="ghs_12345678", CLAUDE_RUN_ANTHROPIC_API_KEY="sk-12345678",
    )  # fmt: skip
    assert build_run_request(made.prompt, made.options).to_json() == {
        "prompt": "Hi",
        "repository": {"name": "octo/hello", "branch": "b", "commit": "a" * 40},
        "model": "m",
        "fallbackModel": "n",
        "systemPrompt": "s",
        "appendSystemPrompt": "t",
        "mcpConfigJson": {"mcpServers": {"a": {"command": "true"}}},
        "allowedTools": ["Read", "Bash(git log, git diff)", "Write"],
        "disallowedTools": ["Edit"],
        "permissionMode": "plan",
        "maxTurns": 3,
        "timeoutMinutes": 0.5,
        "maxBudgetUsd": 1.5,
        "githubToken": "ghs_12345678",
        "anthropicApiKey": "sk-12345678",
    }
    assert "12345678" not in repr(made)


def test_no_tools_at_all_can_be_said() -> None:
    """An empty list is not the same as none given."""
    assert order("x", "--allowed-tools", "").options == {"allowed_tools": []}


def test_a_repository_is_a_name_or_a_url() -> None:
    """And is what the status line speaks of; its token goes nowhere without it."""
    assert order("x", "--repo", "https://github.com/a/b").options == {
        "repository": {"url": "https://github.com/a/b"}
    }
    assert order("x", "--repo", "a/b").repository == "a/b"
    assert order("x", CLAUDE_RUN_GITHUB_TOKEN="ghs_12345678").options == {}


def test_the_prompt_can_come_from_standard_input() -> None:
    """All of it, as it is; what is not text is refused."""
    assert order("-", stdin="Grüße\n--version".encode()).prompt == "Grüße\n--version"
    with pytest.raises(CallerError, match="not UTF-8"):
        order("-", stdin=b"\xff")


@pytest.mark.parametrize(
    ("argv", "rule"),
    [
        (["x", "--branch", "b"], "need --repo"),
        (["x", "--commit", "a" * 40], "need --repo"),
        (["x", "--mcp-config", "/nowhere/at/all"], "cannot be read"),
        (["x", "--mcp-config", __file__], "not a file of JSON"),
    ],
)
def test_what_cannot_be_an_order_is_refused(argv: list[str], rule: str) -> None:
    """With a sentence that names the option."""
    with pytest.raises(CallerError, match=rule):
        order(*argv)


@pytest.mark.parametrize(
    "argv", [[], ["run"], ["walk"], ["run", "x", "--max-turns", "many"], ["run", "x", "--nonsense"]]
)
def test_wrong_usage_is_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Said on standard error."""
    with pytest.raises(SystemExit) as stopped:
        arguments.parser().parse_args(argv)
    assert stopped.value.code == 2
    assert "usage: claude-run" in capsys.readouterr().err


def test_keys_are_no_options() -> None:
    """An argument is visible to every process of the machine."""
    assert not [word for word in arguments.parser().format_help().split() if "key" in word.lower()]
    for option in ("--api-key", "--anthropic-api-key", "--github-token"):
        with pytest.raises(SystemExit):
            arguments.parser().parse_args(["run", "x", option, "secret"])
