"""The events of a session, and the SSE frames that they are stored and sent as. Pure.

One constructor for each event of the API reference. They keep the bounds: what is too large in an
input, a content, a result or a list of files is cut, and says so; text of the model is split.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from claude_run.sse import encode_event
from gateway.sessions.bounds import MAX_SHORT, cut, cut_list, is_small, split, to_json
from gateway.timestamp import iso

MAX_PROMPT_SHOWN = 200


# A tuple: each piece of an answer makes one, and a frozen dataclass takes twice as long to make.
class SessionEvent(NamedTuple):
    """A name and its data; number and time are the log's to give."""

    name: str
    data: dict[str, Any]


def encode(event: SessionEvent, *, id: int, timestamp: datetime) -> bytes:  # noqa: A002 - SSE's own name
    """The frame of an event."""
    data = to_json({**event.data, "timestamp": iso(timestamp)})
    return encode_event(data, event=event.name, id=str(id))


def connected(session_id: str) -> SessionEvent:
    """The session's first event."""
    return SessionEvent("connected", {"message": "Connected", "sessionId": session_id})


def status(message: str, *, code: str | None = None, pr_url: str | None = None) -> SessionEvent:
    """Something to know; `code` names what clients may want to branch on."""
    data = {"message": message[:MAX_SHORT]}
    if code is not None:
        data["code"] = code[:MAX_SHORT]
    if pr_url is not None:
        data["prUrl"] = pr_url
    return SessionEvent("status", data)


def claude_start(turn: int, prompt: str) -> SessionEvent:
    """A turn begins."""
    return SessionEvent("claude_start", {"turn": turn, "prompt": prompt[:MAX_PROMPT_SHOWN]})


def claude_delta(turn: int, text: str) -> list[SessionEvent]:
    """Text as it is made; none for an empty one, several for a long one."""
    if text and is_small(text):
        return [SessionEvent("claude_delta", {"turn": turn, "content": text})]
    return [SessionEvent("claude_delta", {"turn": turn, "content": piece}) for piece in split(text)]


def tool_use(turn: int, tool_id: str, name: str, tool_input: object) -> SessionEvent:
    """Claude, or an agent of its own, uses a tool."""
    data = {"turn": turn, "id": tool_id[:MAX_SHORT], "name": name[:MAX_SHORT]}
    return SessionEvent("tool_use", data | _bounded("input", tool_input))


def tool_result(turn: int, tool_id: str, content: str, *, is_error: bool) -> SessionEvent:
    """What the tool gave."""
    data = {"turn": turn, "id": tool_id[:MAX_SHORT], "isError": is_error}
    return SessionEvent("tool_result", data | _bounded("content", content))


def usage(turn: int, used: Mapping[str, Any]) -> SessionEvent:
    """What the turn has used so far: `inputTokens`, `outputTokens`, `costUsd`."""
    return SessionEvent("usage", {"turn": turn, **used})


def claude_end(turn: int) -> SessionEvent:
    """Claude says no more in this turn."""
    return SessionEvent("claude_end", {"turn": turn})


def file_change(
    message: str, *, workspace_dir: str, files: Sequence[Mapping[str, str]]
) -> SessionEvent:
    """Files have changed: `path` and `status` of each."""
    shown, truncated = cut_list(files)
    data: dict[str, Any] = {
        "message": message[:MAX_SHORT],
        "workspaceDir": workspace_dir[:MAX_SHORT],
        "files": shown,
    }
    return SessionEvent("file_change", data | _mark(truncated))


def complete(
    *,
    session_id: str,
    turns: int,
    result: str,
    usage: Mapping[str, Any],
    agent_turns: int | None = None,
    pr_url: str | None = None,
) -> SessionEvent:
    """The turn has succeeded; `usage` is the whole session's, `agent_turns` of this prompt."""
    data: dict[str, Any] = {"sessionId": session_id, "turns": turns, "usage": dict(usage)}
    if agent_turns is not None:
        data["agentTurns"] = agent_turns
    if pr_url is not None:
        data["prUrl"] = pr_url
    return SessionEvent("complete", data | _bounded("result", result))


def error(message: str, code: str) -> SessionEvent:
    """The turn has failed, or was stopped."""
    return SessionEvent("error", {"message": message[:MAX_SHORT], "code": code[:MAX_SHORT]})


def _bounded(name: str, value: object) -> dict[str, Any]:
    shown, truncated = cut(value)
    return {name: shown} | _mark(truncated)


def _mark(truncated: bool) -> dict[str, Any]:
    return {"truncated": True} if truncated else {}
