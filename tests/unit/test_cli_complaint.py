"""An error on standard error: what, why, what to do."""

import pytest

from claude_run.cli.complaint import complaint
from claude_run.errors import Code, ConfigurationError, error_for


def test_an_error_names_its_code_what_to_do_and_where_to_look() -> None:
    """Three lines."""
    error = error_for("MAX_TURNS", "The run used up its turns.", request_id="r-1")
    assert complaint(error) == (
        "claude-run: The run used up its turns. (MAX_TURNS)\n"
        "  Allow more with --max-turns.\n"
        "  In the runner's log this is request r-1.\n"
    )


@pytest.mark.parametrize("code", Code)
def test_every_code_can_be_told(code: Code) -> None:
    """And each is named."""
    lines = complaint(error_for(code, "Something happened.")).splitlines()
    assert lines[0] == f"claude-run: Something happened. ({code})"


def test_a_code_of_a_newer_server_is_told_as_it_is() -> None:
    """And its text cannot control the terminal either."""
    assert complaint(error_for("NEW\x1b", "a\nb\x1b[2J")).splitlines() == [
        "claude-run: a b␛[2J (NEW␛)"
    ]


def test_a_wrong_base_url_is_one_sentence() -> None:
    """There is no server yet that had a code or a log."""
    assert complaint(ConfigurationError("It must be https")) == "claude-run: It must be https\n"
