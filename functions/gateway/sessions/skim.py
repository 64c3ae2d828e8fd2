"""A run's events out of the bytes of its stream, neighbouring pieces of text as one. Pure.

Nearly all of a long stream are such pieces: twenty thousand in two seconds, each a frame of 300
bytes of which a session wants five. They are known by how they look, and not parsed one by one;
what looks different in any way goes through decoder and parser.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic_core import from_json

from claude_run.events import RunEvent, parse_event
from claude_run.sse import Decoder

_STRING = rb'"[^"\\\x00-\x1f]*"'
# As the runner frames a line of Claude Code's. What could mean something else stands in it once.
_PIECE = re.compile(
    rb'event: message\ndata: \{"type":"stream_event","event":\{"type":"content_block_delta",'
    rb'"index":(0|[1-9][0-9]{0,8}),"delta":\{"type":"text_delta",'
    rb'"text":"([^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*)"\}\},'
    rb'"session_id":' + _STRING + rb',"parent_tool_use_id":null'
    rb'(?:,"(?!type"|event"|parent_tool_use_id")[a-z_]+":(?:null|' + _STRING + rb"))*\}\n\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Text of the main thread's answer, in its block of this number."""

    text: str
    block: int


class Skimmer:
    """Bytes in, in any chunks; out what `claude_run.sse` and `claude_run.events` make of them."""

    def __init__(self) -> None:
        self._decoder = Decoder()

    def feed(self, chunk: bytes) -> Iterator[RunEvent | Said]:
        """The events that `chunk` completes; `UpstreamError` at one that is nonsense."""
        at = 0
        while at < len(chunk):
            if self._decoder.between_events and (found := _pieces(chunk, at)) is not None:
                said, at = found
                yield said
                continue
            end = chunk.find(b"\n\n", at) + 2
            if end < 2:
                end = len(chunk)
            for event in self._decoder.feed(chunk[at:end]):
                yield parse_event(event.event, event.data)
            at = end


def _pieces(chunk: bytes, at: int) -> tuple[Said, int] | None:
    """The text of all pieces here that are of one block, and where what follows begins."""
    block = b""
    texts: list[bytes] = []
    while (found := _PIECE.match(chunk, at)) is not None:
        if texts and found[1] != block:
            break
        block = found[1]
        texts.append(found[2])
        at = found.end()
    if not texts:
        return None
    try:
        text = "".join(_strings(b'["' + b'","'.join(texts) + b'"]'))
    except ValueError:  # an escape that JSON does not have: the parser says of which event
        return None
    return Said(text=text, block=int(block)), at


def _strings(array: bytes) -> list[str]:
    try:
        found: list[str] = from_json(array)
    except ValueError:  # half a surrogate pair, which it does not take
        found = json.loads(array.decode("utf-8", "replace"))
    return found
