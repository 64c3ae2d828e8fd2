"""Which tools exist in a run, and which of them run unasked. No I/O.

`allowedTools` is what Claude can use, as the API reference says. Claude Code itself has two lists
for that: `--tools` (what exists) and `--allowedTools` (what runs unasked; it removes nothing).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Claude Code replaces these two by its own search inside Bash and lists them only without Bash,
# so their absence tells a caller nothing.
NEVER_REPORTED = frozenset({"Grep", "Glob"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPolicy:
    """The three lists that Claude Code is started with; `exist` None means all that it has.

    `refused` matches the names of the MCP tools that a list cannot take away: those that share a
    server with one that is named.
    """

    exist: tuple[str, ...] | None
    unasked: tuple[str, ...]
    never: tuple[str, ...]
    refused: str | None = None


def base_name(rule: str) -> str:
    """`Bash(git *)` → `Bash`."""
    return rule.partition("(")[0]


def _server(rule: str) -> str | None:
    """The MCP server that a rule names (`mcp__server__tool`), or None for a built-in tool."""
    parts = base_name(rule).split("__")
    return parts[1] if len(parts) >= 2 and parts[0] == "mcp" else None


def tool_policy(
    *,
    allowed: Sequence[str] | None,
    disallowed: Sequence[str],
    mcp_servers: Iterable[str],
) -> ToolPolicy:
    """The lists for a run; `allowed` None means that neither request nor operator named tools."""
    servers = list(mcp_servers)
    if allowed is None:
        return ToolPolicy(
            exist=None,
            unasked=tuple(f"mcp__{name}" for name in servers),
            never=tuple(disallowed),
        )
    named = {server for rule in allowed if (server := _server(rule)) is not None}
    refused = [_others(name, allowed) for name in servers if name in named]
    built_in = dict.fromkeys(base_name(rule) for rule in allowed if _server(rule) is None)
    return ToolPolicy(
        exist=tuple(built_in),
        unasked=tuple(allowed),
        # `--tools` says nothing of MCP: a server that no rule names is taken away whole.
        never=(*disallowed, *(f"mcp__{name}" for name in servers if name not in named)),
        refused="|".join(pattern for pattern in refused if pattern) or None,
    )


def _others(server: str, allowed: Iterable[str]) -> str:
    """A regular expression for the tools of `server` that no rule names; empty if all are."""
    rules = [base_name(rule).split("__", 2) for rule in allowed if _server(rule) == server]
    if any(len(rule) == 2 for rule in rules):
        return ""
    tools = "|".join(rule[2].replace("*", ".*") for rule in rules)
    return f"^mcp__{server}__(?!(?:{tools})$)"


def unknown_tools(allowed: Sequence[str] | None, existing: Iterable[str]) -> list[str]:
    """The built-in names asked for that this Claude Code does not have, in the order asked."""
    known = set(existing) | NEVER_REPORTED
    names = dict.fromkeys(base_name(rule) for rule in allowed or () if _server(rule) is None)
    return [name for name in names if name not in known]
