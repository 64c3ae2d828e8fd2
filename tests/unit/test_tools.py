"""Which tools exist, run unasked, and are refused, for every way to name them."""

import re

from runner.tools import ToolPolicy, base_name, tool_policy, unknown_tools


def policy(
    allowed: list[str] | None, *servers: str, disallowed: tuple[str, ...] = ()
) -> ToolPolicy:
    return tool_policy(allowed=allowed, disallowed=disallowed, mcp_servers=servers)


def test_without_a_list_all_tools_exist_and_servers_run_unasked() -> None:
    """Neither request nor operator named a tool: the mode decides."""
    assert policy(None, "git", "db", disallowed=("Write",)) == ToolPolicy(
        exist=None, unasked=("mcp__git", "mcp__db"), never=("Write",)
    )


def test_a_list_is_the_whole_list() -> None:
    """A rule makes its tool exist, and only what it matches runs unasked."""
    made = policy(["Read", "Bash(git *)", "Bash(ls)"], disallowed=("Bash(git push)",))
    assert made.exist == ("Read", "Bash")
    assert made.unasked == ("Read", "Bash(git *)", "Bash(ls)")
    assert made.never == ("Bash(git push)",)


def test_an_empty_list_leaves_nothing() -> None:
    """Also no server."""
    assert policy([], "git") == ToolPolicy(exist=(), unasked=(), never=("mcp__git",))


def test_a_server_that_is_not_named_is_taken_away_whole() -> None:
    """Naming one of two keeps the other out."""
    made = policy(["mcp__git"], "git", "db")
    assert made.never == ("mcp__db",)
    assert made.refused is None
    assert made.exist == ()


def refuses(made: ToolPolicy, name: str) -> bool:
    # As Claude Code tests it: unanchored, by a JavaScript regular expression of the same meaning.
    return made.refused is not None and re.search(made.refused, name) is not None


def test_the_other_tools_of_a_named_server_are_refused() -> None:
    """By name or by a star, several rules together; other servers' and built-in ones are not."""
    made = policy(["mcp__git__log", "mcp__git__show*", "mcp__db__read", "Bash"], "git", "db")
    for name in ("mcp__git__log", "mcp__git__show", "mcp__git__show_x", "mcp__db__read", "Bash"):
        assert not refuses(made, name)
    for name in ("mcp__git__logs", "mcp__git__push", "mcp__git__", "mcp__db__log", "mcp__db__rea"):
        assert refuses(made, name)


def test_a_server_that_is_named_whole_is_whole() -> None:
    """With the server's name, or a star for the tool, whatever else names it."""
    for rule in ("mcp__git", "mcp__git__*"):
        made = policy(["mcp__git__log", rule], "git")
        assert not refuses(made, "mcp__git__push")


def test_a_name_with_the_separator_in_it_fails_closed() -> None:
    """`a__b` cannot be told from tool `b` of server `a`: it is never half named."""
    made = policy(["mcp__a__b__tool"], "a__b")
    assert made.never == ("mcp__a__b",)


def test_only_names_that_do_not_exist_are_unknown() -> None:
    """Grep and Glob hide behind Bash; MCP tools are not known before their server runs."""
    asked = ["Read", "LS", "Grep", "Glob(*.py)", "mcp__git__log", "LS", "NoSuch(x)"]
    assert unknown_tools(asked, ["Read", "Bash"]) == ["LS", "NoSuch"]
    assert unknown_tools(None, []) == []


def test_a_rules_base_name() -> None:
    """Up to the parenthesis."""
    assert base_name("Bash(git *)") == "Bash"
    assert base_name("Read") == "Read"
