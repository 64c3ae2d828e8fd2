"""The events of `POST /run`, as values: what the stream's names and data mean."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json

from claude_run.errors import ClaudeRunError, Code, UpstreamError, error_for
from claude_run.wire import Changes, TranscriptPart

M = TypeVar("M", bound=BaseModel)

# The data of the `done` event.
DONE = "[DONE]"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEvent:
    """A line that Claude Code printed: `raw` as it stands, `data` read from it."""

    data: Mapping[str, Any]
    raw: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningEvent:
    """Something in the request has no effect, or another one than its author may think."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptEvent:
    """Lines for the conversation's transcript; all of them, in order, go into `resume`."""

    part: TranscriptPart


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesEvent:
    """What differs in the workspace from its base commit; the last one of a stream holds."""

    changes: Changes


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent:
    """The run did not succeed; `code` is a `Code`, or one that a newer server knows."""

    error: str
    code: str
    details: Mapping[str, Any]

    def as_exception(self, *, request_id: str | None = None) -> ClaudeRunError:
        """The same as an exception, for whoever would rather raise it."""
        return error_for(self.code, self.error, details=self.details, request_id=request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneEvent:
    """The end, after success and after an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent:
    """An event that this version does not know, passed through."""

    name: str
    data: str


RunEvent = (
    MessageEvent
    | WarningEvent
    | TranscriptEvent
    | ChangesEvent
    | ErrorEvent
    | DoneEvent
    | UnknownEvent
)


def parse_event(name: str, data: str) -> RunEvent:
    """The typed event of an SSE event's name and data; `UpstreamError` for nonsense."""
    read = _READERS.get(name)
    if read is None:
        return UnknownEvent(name=name, data=data)
    try:
        return read(data)
    except (ValueError, RecursionError):
        raise UpstreamError(f"The data of a {name} event cannot be understood") from None


def _object(data: str) -> dict[str, Any]:
    try:
        # Twice as fast as `json`, which counts in a stream of 20,000 pieces.
        value = from_json(data)
    except ValueError:
        # It takes no half of a surrogate pair, which a model may print, and nests less deep.
        value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value.get(key)
    return text if isinstance(text, str) else ""


def _message(data: str) -> MessageEvent:
    return MessageEvent(data=_object(data), raw=data)


def _warning(data: str) -> WarningEvent:
    value = _object(data)
    return WarningEvent(code=_text(value, "code"), message=_text(value, "message"))


def _error(data: str) -> ErrorEvent:
    value = _object(data)
    details = value.get("details")
    return ErrorEvent(
        error=_text(value, "error"),
        code=_text(value, "code") or Code.UPSTREAM_ERROR,
        details=details if isinstance(details, dict) else {},
    )


def _model(model: type[M], data: str) -> M:
    # A server newer than this client may have added a field. (A `ValidationError` is a
    # `ValueError`.)
    return model.model_validate_json(data, extra="ignore", by_alias=True, by_name=False)


_READERS: Mapping[str, Callable[[str], RunEvent]] = {
    "message": _message,
    "warning": _warning,
    "transcript": lambda data: TranscriptEvent(part=_model(TranscriptPart, data)),
    "changes": lambda data: ChangesEvent(changes=_model(Changes, data)),
    "error": _error,
    "done": lambda _data: DoneEvent(),
}
