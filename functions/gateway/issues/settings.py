"""How the agent is run for issues: `ISSUE_…`, read once."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from claude_run.errors import ConfigurationError
from claude_run.wire import (
    MAX_TIMEOUT_MINUTES,
    MAX_TOOLS,
    MAX_TURNS,
    TOOL_PATTERN,
    PermissionMode,
)

# Nobody is asked while it runs: what it needs for a change and its tests runs without a question.
TOOLS = (
    *("Read", "Edit", "Write", "NotebookEdit", "Bash", "Glob", "Grep"),
    *("TaskCreate", "TaskUpdate", "TaskList", "TaskGet"),
)

_TOOL = re.compile(TOOL_PATTERN)
_WHOLE = re.compile(r"[0-9]{1,4}")
_MINUTES = re.compile(r"[0-9]{1,2}(\.[0-9]{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueSettings:
    """What a repository's own file may narrow, never widen."""

    tools: tuple[str, ...] = TOOLS
    mode: PermissionMode = PermissionMode.ACCEPT_EDITS
    turns: int = 50
    minutes: float = 30.0

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "IssueSettings":
        """Read all of it, or raise `ConfigurationError` naming everything that is wrong."""
        usual, wrong = cls(), list[str]()
        given = {name: environ[name].strip() for name in _READERS if environ.get(name, "").strip()}
        read: dict[str, Any] = {}
        for name, text in given.items():
            field, reader, rule = _READERS[name]
            value = reader(text)
            if value is None:
                wrong.append(f"{name} must be {rule}")
            else:
                read[field] = value
        if wrong:
            raise ConfigurationError("; ".join(wrong), details={"settings": wrong})
        return cls(
            tools=read.get("tools", usual.tools),
            mode=read.get("mode", usual.mode),
            turns=read.get("turns", usual.turns),
            minutes=read.get("minutes", usual.minutes),
        )


def _tools(text: str) -> tuple[str, ...] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or not 0 < len(value) <= MAX_TOOLS:
        return None
    if not all(isinstance(rule, str) and _TOOL.fullmatch(rule) for rule in value):
        return None
    return tuple(value)


def _mode(text: str) -> PermissionMode | None:
    return next((mode for mode in PermissionMode if mode.value == text), None)


def _turns(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) and 0 < int(text) <= MAX_TURNS else None


def _minutes(text: str) -> float | None:
    found = float(text) if _MINUTES.fullmatch(text) else 0.0
    return found if 0 < found <= MAX_TIMEOUT_MINUTES else None


_READERS: Mapping[str, tuple[str, Any, str]] = {
    "ISSUE_TOOLS": ("tools", _tools, 'a JSON array of tools such as ["Read", "Bash(git *)"]'),
    "ISSUE_MODE": ("mode", _mode, f"one of {', '.join(mode.value for mode in PermissionMode)}"),
    "ISSUE_TURNS": ("turns", _turns, f"a whole number from 1 to {MAX_TURNS}"),
    "ISSUE_MINUTES": ("minutes", _minutes, f"above 0, at most {MAX_TIMEOUT_MINUTES:g}"),
}
