"""Which turn answers a request: derived from the conversation alone, so nothing is remembered.

The newest text of the user that carries a scenario, or names one, chooses it; without any, the
`default` of the file, else the demonstration, begins anew with each text of the user. The turn is
the number of the assistant's answers since. So a conversation that goes on may bring a new
scenario, or go on in the old one. What comes back in tool results chooses nothing.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from claude_run.errors import CallerError
from runner.scripted import demo
from runner.scripted.conversation import Conversation, Prompt
from runner.scripted.scenario import NAME, Library, Scenario, Text, Turn, parse_scenario

_TAG = re.compile(rf'<scenario>(.*?)</scenario>|<scenario name="({NAME})"\s*/>', re.DOTALL)
_PAST_THE_END = Turn(
    blocks=[Text(type="text", text="The scenario has no turn for this: it is over.")]
)
_MAX_SCHEMA_DEPTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A turn, what its placeholders stand for, and a key that only its repetitions share."""

    turn: Turn
    values: Mapping[str, str]
    key: str


def choose(conversation: Conversation, library: Library) -> Choice:
    """The turn that answers, or `CallerError` if the scenario is wrong or not there."""
    if conversation.aside:
        turn, at = Turn(blocks=[Text(type="text", text=_aside(conversation))]), (-1, 0)
    else:
        turn, at = _scheduled(conversation, library)
    # Refused before anything is sent: a stream that has begun could only break off.
    if conversation.cwd is None and "{{cwd}}" in turn.model_dump_json():
        raise CallerError("scenario: {{cwd}} is used, but the request states no directory")
    texts = [prompt.text for prompt in conversation.prompts]
    digest = hashlib.sha256(json.dumps([conversation.owner, at, texts]).encode())
    return Choice(turn=turn, values=_values(conversation), key=digest.hexdigest())


def _scheduled(conversation: Conversation, library: Library) -> tuple[Turn, tuple[int, int]]:
    scenario, start = _scenario(conversation, library)
    number = conversation.answers_since(start)
    turns = scenario.turns
    return (turns[number] if number < len(turns) else _PAST_THE_END), (start, number)


def _scenario(conversation: Conversation, library: Library) -> tuple[Scenario, int]:
    for prompt in reversed(conversation.prompts):
        tags = list(_TAG.finditer(prompt.text))
        if tags:
            body, name = tags[-1].groups()
            return (parse_scenario(body) if name is None else _named(name, library)), prompt.index
    newest = conversation.prompts[-1] if conversation.prompts else Prompt(index=-1, text="")
    if "default" in library:
        return library["default"], newest.index
    return demo.scenario(conversation), newest.index


def _named(name: str, library: Library) -> Scenario:
    if name not in library:
        raise CallerError(f"scenario: none is named {name!r}", details={"field": "scenario"})
    return library[name]


def _values(conversation: Conversation) -> Mapping[str, str]:
    first = conversation.prompts[0].text if conversation.prompts else ""
    values = {
        "first_prompt": _TAG.sub("", first).strip(),
        "last_result": conversation.last_result,
    }
    return values if conversation.cwd is None else {**values, "cwd": conversation.cwd}


def _aside(conversation: Conversation) -> str:
    if conversation.schema is None:
        return "A scripted summary."
    return json.dumps(_instance(conversation.schema, _MAX_SCHEMA_DEPTH))


def _instance(schema: Mapping[str, Any], depth: int) -> object:
    """The smallest value of a schema, for the plain schemas that Claude Code asks with."""
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object" and depth:
        properties = schema.get("properties", {})
        return {name: _instance(properties[name], depth - 1) for name in properties}
    plain: dict[object, object] = {"array": [], "boolean": False, "integer": 0, "number": 0}
    return plain.get(kind, "scripted")
