"""What a Messages request says about the conversation it belongs to.

Claude Code adds to what the user wrote: `<system-reminder>` blocks in user messages, messages of
the role `system` between them, and requests of its own (a title, a summary of a web page). None
of that may be taken for the user's words.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from claude_run.errors import CallerError

_REMINDERS = re.compile(r"\A(?:\s*<system-reminder>.*?</system-reminder>)+\s*", re.DOTALL)
# `(was …)` follows when the directory has changed since it was last stated. `CWD:` is the form of
# the bare system prompt.
_DIRECTORY = re.compile(
    r"^[ \t]*(?:- )?(?:Primary working directory|Working directory|CWD): (/[^\n]*?)"
    r"(?: \(was [^\n]*\))?[ \t]*$",
    re.MULTILINE,
)
_BILLING = "x-anthropic-billing-header"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A text of the user, and the index of its message."""

    index: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One request: the user's words in order, and where the assistant has answered."""

    model: str
    stream: bool
    prompts: tuple[Prompt, ...]
    answers: tuple[int, ...]
    last_result: str
    cwd: str | None
    tools: frozenset[str]
    schema: Mapping[str, Any] | None
    """The JSON schema that the answer must have, in a request for structured output."""
    owner: str
    """Whatever names the client's session; empty if nothing does."""
    aside: bool
    """A request of Claude Code's own, beside the conversation: it offers no tools and states no
    working directory, as every conversation does."""

    def answers_since(self, index: int) -> int:
        """How often the assistant has answered since the message of that index."""
        return sum(answer > index for answer in self.answers)


def read_conversation(body: Mapping[str, Any]) -> Conversation:
    """Read a request's body, or raise `CallerError` in the words of the Messages API."""
    model, messages = body.get("model"), body.get("messages")
    if not isinstance(model, str) or not model:
        raise CallerError("model: Field required")
    if not isinstance(messages, list) or not messages:
        raise CallerError("messages: at least one message is required")
    if not all(isinstance(message, dict) for message in messages):
        raise CallerError("messages: Input should be a list of objects")
    stream = body.get("stream", False)
    if not isinstance(stream, bool):
        raise CallerError("stream: Input should be a valid boolean")
    system = "\n".join(_texts(body.get("system")))
    tools = _tool_names(body.get("tools"))
    cwd = _working_directory(system, messages)
    return Conversation(
        model=model,
        stream=stream,
        prompts=tuple(_prompts(messages)),
        answers=tuple(i for i, each in enumerate(messages) if each.get("role") == "assistant"),
        last_result=_last_result(messages),
        cwd=cwd,
        tools=tools,
        schema=_schema(body),
        owner=_owner(body),
        aside=not tools and cwd is None and (_BILLING in system or _schema(body) is not None),
    )


def _blocks(content: object) -> Sequence[Mapping[str, Any]]:
    if isinstance(content, str):
        return ({"type": "text", "text": content},)
    if isinstance(content, list):
        return [block for block in content if isinstance(block, dict)]
    return ()


def _texts(content: object) -> Iterator[str]:
    for block in _blocks(content):
        text = block.get("text")
        if block.get("type") == "text" and isinstance(text, str):
            yield text


def _prompts(messages: Sequence[Mapping[str, Any]]) -> Iterator[Prompt]:
    for index, message in enumerate(messages):
        if message.get("role") == "user":
            for text in _texts(message.get("content")):
                words = _REMINDERS.sub("", text)
                if words.strip():
                    yield Prompt(index=index, text=words)


def _working_directory(system: str, messages: Sequence[Mapping[str, Any]]) -> str | None:
    # The newest statement holds: a resumed conversation keeps those of its earlier runs.
    found = _DIRECTORY.findall(system)
    for message in messages:
        for text in _texts(message.get("content")):
            if message.get("role") == "system":
                found += _DIRECTORY.findall(text)
            elif message.get("role") == "user" and (reminders := _REMINDERS.match(text)):
                found += _DIRECTORY.findall(reminders.group())
    return found[-1] if found else None


def _last_result(messages: Sequence[Mapping[str, Any]]) -> str:
    for message in reversed(messages):
        for block in reversed(_blocks(message.get("content"))):
            if block.get("type") == "tool_result":
                return "\n".join(_texts(block.get("content")))
    return ""


def _tool_names(tools: object) -> frozenset[str]:
    return frozenset(str(tool.get("name")) for tool in _blocks(tools))


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    config = body.get("output_config")
    form = config.get("format") if isinstance(config, dict) else None
    schema = form.get("schema") if isinstance(form, dict) else None
    return schema if isinstance(schema, dict) else None


def _owner(body: Mapping[str, Any]) -> str:
    metadata = body.get("metadata")
    return str(metadata.get("user_id", "")) if isinstance(metadata, dict) else ""
