"""Where the events of a run go: a stream of Server-Sent Events, or one JSON object."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from claude_run.sse import encode_event
from runner.outlet import Outlet


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One event: its name, and its data as UTF-8 JSON."""

    event: str
    data: bytes

    @classmethod
    def of(cls, event: str, value: Any) -> "Frame":  # noqa: ANN401 - any JSON value
        """A frame from a JSON value."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        # A transcript may hold half a surrogate pair, which has no UTF-8: it goes escaped.
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError:
            data = json.dumps(value, separators=(",", ":")).encode("ascii")
        return cls(event=event, data=data)


class Sink(Protocol):
    """What a run writes to."""

    async def write(self, frames: Sequence[Frame]) -> None:
        """Take events in order; returns when more may come."""

    def finish(self) -> None:
        """The run is over; what still comes must be taken without a wait."""


_MESSAGE = b"event: message\ndata: "


@dataclass(slots=True)
class StreamSink:
    """Events as they happen."""

    outlet: Outlet

    async def write(self, frames: Sequence[Frame]) -> None:
        """Encode and buffer; waits while the client is far behind."""
        await self.outlet.send(b"".join(map(_encode, frames)))

    def finish(self) -> None:
        """Let the last events in at once."""
        self.outlet.finish()


def _encode(frame: Frame) -> bytes:
    # Nearly every frame of a long stream takes this way; the general one costs ten times as much.
    if frame.event == "message" and b"\r" not in frame.data:
        return _MESSAGE + frame.data + b"\n\n"
    return encode_event(frame.data, event=frame.event)


@dataclass(slots=True)
class ObjectSink:
    """Only what the one object of `Accept: application/json` needs."""

    result: dict[str, Any] | None = None
    changes: dict[str, Any] | None = None

    async def write(self, frames: Sequence[Frame]) -> None:
        """Keep the last result and the last change set."""
        for frame in frames:
            if frame.event == "changes":
                self.changes = json.loads(frame.data)
            elif frame.event == "message" and b'"result"' in frame.data:
                value = json.loads(frame.data)
                if value.get("type") == "result":
                    self.result = value

    def finish(self) -> None:
        """Nothing waits here."""
