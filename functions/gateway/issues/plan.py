"""The agent's own plan, as its tools for planning tell it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from gateway.sessions.events import SessionEvent

# Of a plan as it is kept; a comment shows fewer.
MAX_STEPS = 100
MAX_STEP = 200

_NUMBER = re.compile(r"#([0-9]{1,9})")


class Stand(StrEnum):
    """How a step stands, in Claude Code's words."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step."""

    text: str
    stand: Stand = Stand.PENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps by their numbers, in order; `asked`: those whose number is not told yet, by call."""

    steps: Mapping[str, Step] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)

    def after(self, event: SessionEvent) -> "Plan":
        """The plan when this has happened; itself, if it says nothing of plans."""
        data = event.data
        if event.name == "tool_use" and isinstance(data["input"], Mapping):
            match data["name"]:
                case "TodoWrite":
                    return self._written(data["input"].get("todos"))
                case "TaskCreate":
                    return self._asked(data["id"], data["input"].get("subject"))
                case "TaskUpdate":
                    return self._updated(data["input"])
        if event.name == "tool_result" and data["id"] in self.asked:
            return self._created(data["id"], data["content"])
        return self

    def _written(self, todos: object) -> "Plan":
        if not isinstance(todos, list):
            return self
        steps = {
            str(number): Step(text=_text(todo.get("content")), stand=_stand(todo.get("status")))
            for number, todo in enumerate(todos[:MAX_STEPS])
            if isinstance(todo, Mapping)
        }
        return replace(self, steps=steps)

    def _asked(self, call: str, subject: object) -> "Plan":
        if len(self.asked) >= MAX_STEPS:
            return self
        return replace(self, asked={**self.asked, call: _text(subject)})

    def _created(self, call: str, content: object) -> "Plan":
        asked = dict(self.asked)
        subject = asked.pop(call)
        found = _NUMBER.search(content) if isinstance(content, str) else None
        if found is None or len(self.steps) >= MAX_STEPS:
            return replace(self, asked=asked)
        return Plan(steps={**self.steps, found[1]: Step(text=subject)}, asked=asked)

    def _updated(self, change: Mapping[str, Any]) -> "Plan":
        number = str(change.get("taskId", ""))
        step = self.steps.get(number)
        if step is None:
            return self
        if change.get("status") == "deleted":
            left = {key: one for key, one in self.steps.items() if key != number}
            return replace(self, steps=left)
        if "subject" in change:
            step = replace(step, text=_text(change["subject"]))
        if "status" in change:
            step = replace(step, stand=_stand(change["status"]))
        return replace(self, steps={**self.steps, number: step})


def _text(value: object) -> str:
    return value[:MAX_STEP] if isinstance(value, str) else ""


def _stand(value: object) -> Stand:
    try:
        return Stand(str(value))
    except ValueError:
        return Stand.PENDING
