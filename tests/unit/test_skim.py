"""Text is read out of a stream's bytes, and everything means what the plain parser makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_run.errors import UpstreamError
from claude_run.events import MessageEvent, RunEvent, parse_event
from claude_run.sse import Decoder, encode_event
from gateway.sessions.skim import Said, Skimmer
from gateway.sessions.translate import Translator

RECORDED = Path(__file__).parent.parent / "recorded"
SESSION = "667465fc-3fe4-4a4f-baca-e168f0ceec8e"


def piece(text: str, *, block: int = 0, **more: object) -> bytes:
    """A line of Claude Code's in its frame, as the runner writes it; `more` is put at its end."""
    line = {
        "type": "stream_event",
        "event": {
            "type": "content_block_delta",
            "index": block,
            "delta": {"type": "text_delta", "text": text},
        },
        "session_id": SESSION,
        "parent_tool_use_id": None,
        "uuid": "cdc84342-d91d-4d7a-8240-0df5d1c7b140",
        **more,
    }
    return encode_event(json.dumps(line, separators=(",", ":")), event="message")


def skimmed(*chunks: bytes) -> list[RunEvent | Said]:
    """All events of a stream."""
    skimmer = Skimmer()
    return [event for chunk in chunks for event in skimmer.feed(chunk)]


def parsed(data: bytes) -> list[RunEvent]:
    """The same by decoder and parser alone."""
    return [parse_event(event.event, event.data) for event in Decoder().feed(data)]


def told(events: list[Any]) -> list[tuple[str, Any]]:
    """What a session tells of them, its text as one."""
    translator = Translator(turn=1)
    found: list[tuple[str, Any]] = []
    for name, data in (one for event in events for one in translator.feed(event)):
        if name != "claude_delta":
            found.append((name, data))
        elif found and found[-1][0] == name:
            found[-1] = name, found[-1][1] + data["content"]
        else:
            found.append((name, data["content"]))
    return found


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.sse")), ids=lambda path: path.stem)
def test_what_was_recorded_means_the_same(path: Path) -> None:
    """Of the real Claude Code, in one piece, and cut into pieces of all sizes."""
    data = path.read_bytes()
    expected = told(parsed(data))
    for size in (len(data), 4_096, 1_000, 333, 7):
        chunks = [data[start : start + size] for start in range(0, len(data), size)]
        assert told(skimmed(*chunks)) == expected


FRAMES = st.one_of(
    st.builds(
        piece,
        st.text() | st.sampled_from(["\ud83d", "\ude00", '"\\', "\n\r\0", "\u2028", "data: x\n\n"]),
        block=st.integers(0, 2),
    ),
    st.sampled_from(
        [
            piece("of a subagent", parent_tool_use_id="toolu_1"),
            piece("with more", api_message_id="msg_1", other=[1]),
            piece("of another kind", type="other"),
            piece("in another place", event={"type": "message_stop"}),
            b": ping\n\n",
            b"event: message\r\ndata: {}\r\n\r\n",
            b"id: 7\n",
            b"\n",
            encode_event('{"type":"result","subtype":"success","result":"x"}', event="message"),
            encode_event("[DONE]", event="done"),
        ]
    ),
)


@given(st.lists(FRAMES, max_size=8), st.data())
def test_what_is_made_up_means_the_same(frames: list[bytes], draw: st.DataObject) -> None:
    """Text with all that JSON escapes, beside what only looks like text, cut anywhere."""
    data = b": stream open\n\n" + b"".join(frames)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    chunks = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert told(skimmed(*chunks)) == told(parsed(data))


def test_pieces_that_come_together_are_one() -> None:
    """Of the same block; nothing of them is parsed one by one."""
    found = skimmed(
        b": stream open\n\n",
        piece("a") + piece("\u00e9\n") + piece("c", api_message_id="m") + piece("d", block=1),
        piece("e", block=1)[:100],
        piece("e", block=1)[100:] + piece("f", block=1),
    )
    assert [event for event in found if isinstance(event, Said)] == [
        Said(text="a\u00e9\nc", block=0),
        Said(text="d", block=1),
        Said(text="f", block=1),
    ]
    [cut] = [event for event in found if isinstance(event, MessageEvent)]
    assert cut.data["event"]["delta"]["text"] == "e"


@pytest.mark.parametrize("broken", [b"\\x", b"\\u12", b"\\"])
def test_what_came_before_nonsense_comes(broken: bytes) -> None:
    """Text in front of an event that is no JSON is given out, then the error is raised."""
    nonsense = piece("?").replace(b'"?"', b'"' + broken + b'"')
    events = Skimmer().feed(b": stream open\n\n" + piece("a") + nonsense + piece("b"))
    assert told([next(events)]) == [("claude_delta", "a")]
    with pytest.raises(UpstreamError):
        list(events)
