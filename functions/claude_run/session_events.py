"""The events of a session, as values: what the names and data of its log mean."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from claude_run.errors import ClaudeRunError, Code, UpstreamError, error_for
from claude_run.sse import ServerSentEvent

# The log's numbers: as many digits as 64 bits have. More is somebody else's id.
_MAX_ID_DIGITS = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvent:
    """An event of the log, and as itself one that this version does not know.

    `id` is its number in the session, rising over all turns; `raw` its data as it stands;
    `truncated` says that something in it was too large to be kept whole.
    """

    name: str
    id: int
    timestamp: str = ""
    truncated: bool = False
    raw: str = field(repr=False)

    @property
    def terminal(self) -> bool:
        """Whether a turn ends with it."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEvent(SessionEvent):
    """One that names its turn: how many prompts the session has had."""

    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedEvent(SessionEvent):
    """The first of a session."""

    message: str
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusEvent(SessionEvent):
    """Something to know; `code` names what one may want to branch on."""

    message: str
    code: str | None = None
    pr_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeStartEvent(TurnEvent):
    """A turn begins; `prompt` is the beginning of what was asked."""

    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeDeltaEvent(TurnEvent):
    """Text, as it is made."""

    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUseEvent(TurnEvent):
    """Claude uses a tool; `input` is an object, or the beginning of its JSON text."""

    tool_id: str
    tool: str
    input: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResultEvent(TurnEvent):
    """What the tool gave."""

    tool_id: str
    is_error: bool
    content: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent(TurnEvent):
    """What the turn has used so far."""

    input_tokens: int
    output_tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeEndEvent(TurnEvent):
    """Claude says no more in this turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStatus:
    """A file that changed, and how: `added`, `modified` or `deleted`."""

    path: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChangeEvent(SessionEvent):
    """Files of the workspace differ from what was last said of them."""

    message: str
    workspace_dir: str
    files: tuple[FileStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteEvent(SessionEvent):
    """The turn has succeeded; `usage` is the whole session's, `turns` the prompts so far.

    `agent_turns`: how many of its own the agent took for this prompt, 0 where nobody says so.
    """

    session_id: str
    turns: int
    result: str
    usage: Mapping[str, Any]
    agent_turns: int = 0
    pr_url: str | None = None

    @property
    def terminal(self) -> bool:
        """It does."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionErrorEvent(SessionEvent):
    """The turn has failed or was stopped; `code` is a `Code`, or one of a newer server."""

    message: str
    code: str

    @property
    def terminal(self) -> bool:
        """It does."""
        return True

    def as_exception(self) -> ClaudeRunError:
        """The same as an exception, for whoever would rather raise it."""
        return error_for(self.code, self.message)


def parse_session_event(event: ServerSentEvent) -> SessionEvent:
    """The typed event of a log's frame; `UpstreamError` for nonsense."""
    number = event_number(event)
    build = _BUILDERS.get(event.event)
    try:
        value = json.loads(event.data)
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError):
        if build is None:
            return SessionEvent(name=event.event, id=number, raw=event.data)
        raise UpstreamError(f"The data of a {event.event} event cannot be understood") from None
    shared: dict[str, Any] = {
        "name": event.event,
        "id": number,
        "timestamp": _text(value, "timestamp"),
        "truncated": value.get("truncated") is True,
        "raw": event.data,
    }
    return build(shared, value) if build is not None else SessionEvent(**shared)


def event_number(event: ServerSentEvent) -> int:
    """An event's place in the log; `UpstreamError` where it has none: this is no session's log."""
    if not (event.id.isascii() and event.id.isdigit() and len(event.id) <= _MAX_ID_DIGITS):
        raise UpstreamError("An event of the session has no number")
    return int(event.id)


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value.get(key)
    return text if isinstance(text, str) else ""


def _optional(value: Mapping[str, Any], key: str) -> str | None:
    return _text(value, key) or None


def _number(value: Mapping[str, Any], key: str) -> int:
    number = value.get(key)
    return number if isinstance(number, int) else 0


def _files(value: Mapping[str, Any]) -> tuple[FileStatus, ...]:
    files = value.get("files")
    return tuple(
        FileStatus(path=_text(file, "path"), status=_text(file, "status"))
        for file in (files if isinstance(files, list) else ())
        if isinstance(file, dict)
    )


def _usage(value: Mapping[str, Any]) -> Mapping[str, Any]:
    usage = value.get("usage")
    return usage if isinstance(usage, dict) else {}


def _cost(value: Mapping[str, Any]) -> float:
    cost = value.get("costUsd")
    return float(cost) if isinstance(cost, int | float) else 0.0


_Object = Mapping[str, Any]
# From what every event has, and the data's object.
_BUILDERS: Mapping[str, Callable[[_Object, _Object], SessionEvent]] = {
    "connected": lambda shared, value: ConnectedEvent(
        **shared, message=_text(value, "message"), session_id=_text(value, "sessionId")
    ),
    "status": lambda shared, value: StatusEvent(
        **shared,
        message=_text(value, "message"),
        code=_optional(value, "code"),
        pr_url=_optional(value, "prUrl"),
    ),
    "claude_start": lambda shared, value: ClaudeStartEvent(
        **shared, turn=_number(value, "turn"), prompt=_text(value, "prompt")
    ),
    "claude_delta": lambda shared, value: ClaudeDeltaEvent(
        **shared, turn=_number(value, "turn"), content=_text(value, "content")
    ),
    "tool_use": lambda shared, value: ToolUseEvent(
        **shared,
        turn=_number(value, "turn"),
        tool_id=_text(value, "id"),
        tool=_text(value, "name"),
        input=value.get("input"),
    ),
    "tool_result": lambda shared, value: ToolResultEvent(
        **shared,
        turn=_number(value, "turn"),
        tool_id=_text(value, "id"),
        is_error=value.get("isError") is True,
        content=value.get("content"),
    ),
    "usage": lambda shared, value: UsageEvent(
        **shared,
        turn=_number(value, "turn"),
        input_tokens=_number(value, "inputTokens"),
        output_tokens=_number(value, "outputTokens"),
        cost_usd=_cost(value),
    ),
    "claude_end": lambda shared, value: ClaudeEndEvent(**shared, turn=_number(value, "turn")),
    "file_change": lambda shared, value: FileChangeEvent(
        **shared,
        message=_text(value, "message"),
        workspace_dir=_text(value, "workspaceDir"),
        files=_files(value),
    ),
    "complete": lambda shared, value: CompleteEvent(
        **shared,
        session_id=_text(value, "sessionId"),
        turns=_number(value, "turns"),
        result=_text(value, "result"),
        usage=_usage(value),
        agent_turns=_number(value, "agentTurns"),
        pr_url=_optional(value, "prUrl"),
    ),
    "error": lambda shared, value: SessionErrorEvent(
        **shared,
        message=_text(value, "message"),
        code=_text(value, "code") or Code.UPSTREAM_ERROR,
    ),
}
