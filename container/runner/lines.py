"""The lines that Claude Code prints, told apart without touching them. No I/O.

Standard output carries three languages on one wire: messages for the caller, the control protocol
between CLI and SDK, and mirrored transcript entries. A stream of deltas is tens of thousands of
lines of the first kind, so those are recognised by how they begin and never parsed.
"""

import json
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

# One line holds at most one message; a tool's result of 10 MB arrives as one. Twice the size of
# the largest request body that we take is far above what the Messages API lets through.
MAX_LINE_BYTES = 64 * 1024 * 1024

_DELTA = b'{"type":"stream_event"'


class Kind(Enum):
    """Who a line is for."""

    DELTA = auto()  # the caller; not parsed
    MESSAGE = auto()  # the caller
    CONTROL = auto()  # the SDK alone
    TRANSCRIPT = auto()  # the transcript alone
    GARBAGE = auto()  # nobody: it is not a JSON object


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line without its end, as printed, and parsed unless it is a delta or garbage."""

    kind: Kind
    raw: bytes
    value: dict[str, Any]


def classify(raw: bytes) -> Line:
    """What a line is. A line that is no JSON object is GARBAGE, never an exception."""
    if raw.startswith(_DELTA) and raw.endswith(b"}"):
        return Line(kind=Kind.DELTA, raw=raw, value={})
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return Line(kind=Kind.GARBAGE, raw=raw, value={})
    return Line(kind=_kind(value), raw=raw, value=value)


def _kind(value: dict[str, Any]) -> Kind:
    if value["type"] == "transcript_mirror":
        return Kind.TRANSCRIPT
    if value["type"].startswith("control_") or value["type"] == "keep_alive":
        return Kind.CONTROL
    if value.get("sdk_host_only") is True:
        return Kind.CONTROL
    return Kind.MESSAGE


class LineTooLongError(Exception):
    """A line passed MAX_LINE_BYTES without an end."""


class LineSplitter:
    """Complete lines from chunks of any size, in time linear in what arrives."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, empty ones left out."""
        head, newline, rest = chunk.partition(b"\n")
        self._pending.append(head)
        self._pending_bytes += len(head)
        if self._pending_bytes > MAX_LINE_BYTES:
            raise LineTooLongError
        if not newline:
            return []
        lines = [b"".join(self._pending), *rest.split(b"\n")]
        tail = lines.pop()
        self._pending, self._pending_bytes = [tail], len(tail)
        return [line for line in lines if line]

    def unfinished(self) -> bytes:
        """What came after the last line's end."""
        return b"".join(self._pending)
