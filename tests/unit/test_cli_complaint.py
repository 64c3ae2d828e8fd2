"""An error on standard error: what, why, what to do."""

import pytest

from claude_run.cli.complaint import OF_DELIVERIES, OF_START, complaint, usage_complaint
from claude_run.errors import CallerError, Code, ConfigurationError, UpstreamError, error_for
from claude_run.wire import build_run_request


def test_an_error_names_its_code_what_to_do_and_where_to_look() -> None:
    """Three lines."""
    error = error_for("MAX_TURNS", "The run used up its turns.", request_id="r-1")
    assert complaint(error) == (
        "claude-run: The run used up its turns. (MAX_TURNS)\n"
        "  Allow more with --max-turns.\n"
        "  In the server's log this is request r-1.\n"
    )


@pytest.mark.parametrize("code", Code)
def test_every_code_can_be_told(code: Code) -> None:
    """And each is named."""
    lines = complaint(error_for(code, "Something happened.")).splitlines()
    assert lines[0] == f"claude-run: Something happened. ({code})"


def test_a_server_that_does_not_answer_is_named() -> None:
    """With what starts one, where it would be here; a server that is busy is another thing."""
    nobody = UpstreamError("Connection refused", code=Code.UNAVAILABLE)
    said = complaint(nobody, server="http://127.0.0.1:8080").splitlines()[1]
    assert said == (
        "  That was http://127.0.0.1:8080: `make dev` starts a server here. "
        "--base-url or CLAUDE_RUN_URL names another."
    )
    assert "make dev" not in complaint(nobody, server="https://api.example")
    busy = UpstreamError("Too many runs", code=Code.UNAVAILABLE, status=503)
    assert "try again" in complaint(busy, server="http://127.0.0.1:8080")


def test_advice_is_of_what_was_asked() -> None:
    """An id that is taken, and a delivery that is not there, are no runs."""
    taken = complaint(error_for("CONFLICT", "A session with this id exists."), advice=OF_START)
    assert "another --session-id" in taken
    nothing = complaint(error_for("NOT_FOUND", "There is none."), advice=OF_DELIVERIES)
    assert "`claude-run deliveries` lists them" in nothing


def test_a_code_of_a_newer_server_is_told_as_it_is() -> None:
    """And its text cannot control the terminal either."""
    assert complaint(error_for("NEW\x1b", "a\nb\x1b[2J")).splitlines() == [
        "claude-run: a b␛[2J (NEW␛)"
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_turns": 0}, "--max-turns: must be at least 1"),
        ({"repository": {"name": "x"}}, "--repo: must be OWNER/NAME, or a URL"),
        ({"repository": {"name": "a/b", "branch": ".x"}}, "--branch: String should match"),
        ({"allowed_tools": ["Read", "a b"]}, "--allowed-tools (1): String should match"),
        ({"mcp_config_json": {"mcpServers": {"a": 1}}}, "--mcp-config (mcpServers.a"),
        ({"anthropic_api_key": "short"}, "CLAUDE_RUN_ANTHROPIC_API_KEY: must be 8 to 4096"),
        ({"prompt": " "}, "PROMPT: must not be blank"),
    ],
)
def test_wrong_usage_names_the_option(options: dict[str, object], said: str) -> None:
    """As the user typed it, not as the request has it."""
    with pytest.raises(CallerError) as refused:
        build_run_request("x", options)
    line = usage_complaint(refused.value)
    assert line.startswith(f"claude-run: {said}")
    assert line.count("\n") == 1


def test_other_wrong_usage_is_one_sentence() -> None:
    """There is no server yet that had a code or a log."""
    error = ConfigurationError("It must be https")
    assert usage_complaint(error) == "claude-run: It must be https\n"
