"""`POST /run` without Claude Code: a stream of the real runner, its words put in by the test.

For loads that are the gateway's to carry: fifty real runs would measure Claude Code.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from claude_run.sse import encode_event
from doubles.recording_server import Asked, Script

RECORDED = Path(__file__).parent.parent / "recorded" / "text.sse"

_HEAD = (
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    "X-Request-Id: {id}\r\nX-Session-Id: {id}\r\nConnection: close\r\n\r\n: stream open\n\n"
)


def light_run(
    words: Callable[[str], Iterable[str | bytes]], *, changes: Mapping[str, Any] | None = None
) -> Script:
    """A behaviour for `recording_server`: each run says `words` of its prompt, one a delta.

    `words` is iterated while the stream is open: what it waits for, the stream waits for. Bytes
    among them are sent as they are. `changes` is what every run has changed, before it says
    anything.
    """
    frames = [part + b"\n\n" for part in RECORDED.read_bytes().split(b"\n\n") if part.strip()]
    spoken = [number for number, frame in enumerate(frames) if b'"text_delta"' in frame]
    before, after = frames[: spoken[0]], frames[spoken[-1] + 1 :]
    delta = frames[spoken[0]].partition(b"data: ")[2]
    if changes is not None:
        changed = encode_event(json.dumps(changes), event="changes")
        before = [*before, changed]
        after = [changed if b"event: changes" in frame else frame for frame in after]

    def script(asked: Asked, send: Callable[[bytes], None]) -> None:
        send(_HEAD.format(id=uuid4()).encode() + b"".join(before))
        for frame in _spoken(delta, words(json.loads(asked.body)["prompt"])):
            send(frame)
        send(b"".join(after))

    return script


def _spoken(delta: bytes, words: Iterable[str | bytes]) -> Iterator[bytes]:
    line = json.loads(delta)  # one for each run: they are played side by side
    for word in words:
        if isinstance(word, bytes):
            yield word
            continue
        line["event"]["delta"]["text"] = word
        yield encode_event(json.dumps(line, separators=(",", ":")), event="message")
