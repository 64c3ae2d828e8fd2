"""Server-Sent Events as bytes: an encoder and an incremental decoder, without any I/O.

Follows https://html.spec.whatwg.org/multipage/server-sent-events.html, section numbers below.
Lines end at CR, LF and CRLF only: U+2028 and the like, which `str.splitlines` breaks at, are text.
"""

from typing import NamedTuple

from claude_run.errors import UpstreamError

# Above the largest event that a runner sends (a change set: a body of 31 MiB can bring it back),
# below what would hurt the reader. Counts the bytes that are kept until the event is dispatched.
MAX_EVENT_BYTES = 32 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
# A reconnection time of more digits than this is centuries; int() itself refuses 4,301.
_MAX_RETRY_DIGITS = 12


# A tuple: a stream has tens of thousands, and a frozen dataclass takes three times as long to make.
class ServerSentEvent(NamedTuple):
    """One dispatched event; `id` is the last id that the stream named, "" before the first."""

    data: str
    event: str = "message"
    id: str = ""


def encode_event(
    data: bytes | str,
    *,
    event: str | None = None,
    id: str | None = None,  # noqa: A002 - the field's name in the specification
    retry: int | None = None,
) -> bytes:
    """One event, ready to send; `ValueError` for what would break out of its field.

    A decoder gives `data` back with each CR and CRLF as LF, as the specification wants it. Bytes
    go out as they are; in a `str` a lone surrogate, which UTF-8 cannot carry, goes out as `?`.
    """
    head = [_field("event", event), _field("id", id)]
    if retry is not None:
        if retry < 0:
            raise ValueError("retry may not be negative")
        head.append(f"retry: {retry}\n")
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "replace")
    return b"".join((*(part.encode() for part in head), b"data: ", _lines(raw, b"data: "), b"\n\n"))


def encode_comment(text: str) -> bytes:
    """Comment lines, which a reader ignores: they show that the connection lives."""
    return b": " + _lines(text.encode("utf-8", "replace"), b": ") + b"\n\n"


def _field(name: str, value: str | None) -> str:
    if value is None:
        return ""
    if any(character in value for character in "\r\n\0"):
        raise ValueError(f"{name} may not hold CR, LF or NUL")
    return f"{name}: {value}\n"


def _lines(data: bytes, prefix: bytes) -> bytes:
    return _with_lf(data).replace(b"\n", b"\n" + prefix)


def _with_lf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


# What a stream begins with, so that its reader knows that it is there, and what it says when it has
# nothing to say.
OPEN = encode_comment("stream open")
PING = encode_comment("ping")


class Decoder:
    """Bytes in, in any chunks; events out. An event unfinished at the end is never given out.

    Works on bytes and decodes an event's text as a whole: no byte of a multi-byte character can
    be CR or LF, so this equals decoding the stream first, for broken UTF-8 (U+FFFD) as well.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self._max = max_event_bytes
        self._start: bytes | None = b""  # the first bytes, until they are known to be a BOM or not
        self._after_cr = False
        self._line: list[bytes] = []  # the pieces of a line whose end has not come
        self._event = b""
        self._data: list[bytes] = []
        self._id = ""
        self._line_bytes = 0
        self._data_bytes = 0

    @property
    def between_events(self) -> bool:
        """Whether the next byte begins an event, or a comment: nothing before it is unfinished."""
        waiting = self._start is not None or self._after_cr or self._data or self._event
        return not waiting and self._line_bytes == 0

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that `chunk` completes; `UpstreamError` for one above the bound."""
        if self._start is not None:
            chunk = self._without_bom(self._start + chunk)
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        first, *rest = _with_lf(chunk).split(b"\n")
        self._line.append(first)
        self._line_bytes += len(first)
        self._check_size()
        if not rest:
            return []
        lines = [b"".join(self._line), *rest]
        last = lines.pop()
        self._line, self._line_bytes = [], 0
        events: list[ServerSentEvent] = []
        for line in lines:
            if line:
                self._take(line)
            elif self._data:
                events.append(self._dispatch())
            else:
                self._pass_over()
        self._line, self._line_bytes = [last], len(last)
        self._check_size()
        return events

    def _without_bom(self, start: bytes) -> bytes:
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start.removeprefix(_BOM)

    def _check_size(self) -> None:
        if self._line_bytes + self._data_bytes > self._max:
            raise UpstreamError(f"An event is larger than {self._max} bytes")

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            # One more for its LF: a flood of empty lines is bounded, too.
            self._data_bytes += len(value) + 1
            self._check_size()
        elif name == b"event":
            self._event = value
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            self.retry = int(value)

    def _dispatch(self) -> ServerSentEvent:
        event, data = self._event, self._data
        self._pass_over()
        return ServerSentEvent(
            b"\n".join(data).decode("utf-8", "replace"),
            event.decode("utf-8", "replace") or "message",
            self._id,
        )

    def _pass_over(self) -> None:
        """A blank line ends what is an event if it has data.

        The specification's data buffer holds an LF for each line when it asks "is it empty?": one
        empty `data` line is an event, no line is none.
        """
        self.last_event_id = self._id
        self._event, self._data, self._data_bytes = b"", [], 0
