"""A run or a session as a program reads it: one JSON line for each event. Pure."""

import json
from typing import Any

from claude_run.events import (
    DONE,
    ChangesEvent,
    ErrorEvent,
    MessageEvent,
    RunEvent,
    TranscriptEvent,
    UnknownEvent,
    WarningEvent,
)
from claude_run.session_events import SessionEvent
from claude_run.wire import Wire


def json_line(event: RunEvent) -> str:
    """`{"event": its name, "data": its data}` and a line feed, in ASCII.

    ASCII carries everything through every locale, and escapes what a terminal would obey.
    """
    name, data = _parts(event)
    return _line({"event": name, "data": data})


def session_line(event: SessionEvent) -> str:
    """The same of a session, and `id`, from which one can go on."""
    try:
        data: Any = json.loads(event.raw)
    except (ValueError, RecursionError):
        data = event.raw  # of an event that this version does not know
    return _line({"event": event.name, "id": event.id, "data": data})


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def _parts(event: RunEvent) -> tuple[str, Any]:  # noqa: PLR0911 - a table, one row an event
    match event:
        case MessageEvent(data=data):
            return "message", data
        case WarningEvent(code=code, message=message):
            return "warning", {"code": code, "message": message}
        case TranscriptEvent(part=part):
            return "transcript", _json(part)
        case ChangesEvent(changes=changes):
            return "changes", _json(changes)
        case ErrorEvent(error=error, code=code, details=details):
            return "error", {"error": error, "code": code, "details": details}
        case UnknownEvent(name=name, data=data):
            return name, data
        case _:
            return "done", DONE


def _json(model: Wire) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)
