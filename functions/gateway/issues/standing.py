"""How a run stands: what its comment tells while it goes on. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from claude_run.workspace import from_inside
from gateway.issues.plan import Plan
from gateway.sessions.events import SessionEvent

# By tool: the words, and the field of its input that says what it is about.
_DOING: Mapping[str, tuple[str, str]] = {
    "Read": ("Reading", "file_path"),
    "Edit": ("Editing", "file_path"),
    "Write": ("Writing", "file_path"),
    "NotebookEdit": ("Editing", "notebook_path"),
    "Bash": ("Running", "command"),
    "Grep": ("Searching for", "pattern"),
    "Glob": ("Looking for", "pattern"),
    "WebFetch": ("Reading", "url"),
    "WebSearch": ("Searching the web for", "query"),
    "Agent": ("Asking a subagent:", "description"),
    "Task": ("Asking a subagent:", "description"),
}
# They are the plan, and said as such.
_PLANNING = frozenset({"TodoWrite", "TaskCreate", "TaskUpdate", "TaskList", "TaskGet"})
_USING = "Using"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`doing`: the words and what it is about, which is the agent's own text."""

    plan: Plan = field(default_factory=Plan)
    doing: tuple[str, str] | None = None
    calls: int = 0
    cost_usd: float = 0.0

    def after(self, event: SessionEvent) -> "Standing":
        """How it stands when this has happened; itself, if that is nothing to tell."""
        match event.name:
            case "tool_use":
                return self._using(event)
            case "tool_result":
                return self._planned(event)
            case "usage":
                return replace(self, cost_usd=event.data["costUsd"])
        return self

    def _planned(self, event: SessionEvent) -> "Standing":
        plan = self.plan.after(event)
        return self if plan is self.plan else replace(self, plan=plan)

    def _using(self, event: SessionEvent) -> "Standing":
        name, given = event.data["name"], event.data["input"]
        known = replace(self._planned(event), calls=self.calls + 1)
        if name in _PLANNING:
            return known
        words, about = _DOING.get(name, (_USING, ""))
        return replace(known, doing=(words, _about(given, about) or name))


def _about(given: Any, about: str) -> str:  # noqa: ANN401 - a tool's own input
    value = given.get(about) if isinstance(given, Mapping) else None
    return from_inside(value) if isinstance(value, str) else ""
