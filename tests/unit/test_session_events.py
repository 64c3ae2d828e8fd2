"""The events of a session: their data, their bounds, and the frames that they are sent as."""

import json
import re
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_run.errors import Code
from claude_run.sse import Decoder
from claude_run.wire_sessions import EVENT_DATA
from gateway.sessions import events
from gateway.sessions.bounds import MAX_SHORT, MAX_VALUE_BYTES, cut, cut_list, size, split, to_json
from gateway.sessions.events import TERMINAL, SessionEvent, encode
from gateway.sessions.log import frame_id, frames_of

MOMENT = datetime(2026, 11, 22, 4, 50, 44, 646_999, tzinfo=UTC)
USED = {"inputTokens": 130, "outputTokens": 12, "costUsd": 0.00186}
ONE_OF_EACH = [
    events.connected("my-session"),
    events.status("Something", code="UNKNOWN_TOOL", pr_url="https://github.com/o/r/pull/1"),
    events.claude_start(2, "Say hello"),
    *events.claude_delta(2, "Hello"),
    events.tool_use(2, "toolu_1", "Bash", {"command": "ls"}),
    events.tool_result(2, "toolu_1", "a.txt", is_error=False),
    events.usage(2, USED),
    events.claude_end(2),
    events.file_change(
        "1 file changed", workspace_dir="/tmp/ws-1", files=[{"path": "a", "status": "added"}]
    ),
    events.complete(
        session_id="my-session", turns=2, result="Done", usage=USED, pr_url="https://x/1"
    ),
    events.error("Stopped", Code.CANCELLED),
]
# What breaks lines, JSON, UTF-8 or a reader's patience.
NAUGHTY = (
    '\r\n\n\r\u2028\u2029\x85\0\ufeff"\\</script>\ud800\udfff\U0001f600\x1b[2Jid: 9\n\ndata: x'
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def sent(event: SessionEvent, number: int = 1) -> dict[str, Any]:
    """The data of an event after its way through frame and decoder."""
    [received] = Decoder().feed(encode(event, id=number, timestamp=MOMENT))
    assert (received.event, received.id) == (event.name, str(number))
    data: dict[str, Any] = json.loads(received.data)
    return data


def test_each_event_has_the_fields_of_the_reference() -> None:
    """Nothing is missing, nothing is more, and the models of the SDK read every one."""
    assert {event.name for event in ONE_OF_EACH} == EVENT_DATA.keys()
    for event in ONE_OF_EACH:
        data = sent(event)
        model = EVENT_DATA[event.name].model_validate_json(json.dumps(data))
        assert json.loads(model.model_dump_json(by_alias=True, exclude_none=True)).keys() == {*data}
    assert sent(ONE_OF_EACH[-1]) == {
        "message": "Stopped",
        "code": "CANCELLED",
        "timestamp": "2026-11-22T04:50:44.646Z",
    }
    assert {"complete", "error"} == TERMINAL


def test_optional_fields_are_left_out() -> None:
    """No null stands where the reference has no field."""
    assert sent(events.status("x")).keys() == {"message", "timestamp"}
    done = events.complete(session_id="s", turns=1, result="", usage=USED)
    assert sent(done).keys() == {"sessionId", "turns", "usage", "result", "timestamp"}


def test_times_are_utc_with_milliseconds() -> None:
    """Whatever zone the clock is in; whole seconds have their zeros."""
    noon = datetime(2026, 1, 2, 12, tzinfo=timezone(timedelta(hours=-5)))
    frame = encode(events.claude_end(1), id=1, timestamp=noon)
    assert b'"timestamp":"2026-01-02T17:00:00.000Z"' in frame


def test_a_frame_is_what_the_log_takes_apart() -> None:
    """Its number is found again, and no text can make it two."""
    frames = [
        encode(event, id=4_096 * number, timestamp=MOMENT)
        for number, event in enumerate(events.claude_delta(1, NAUGHTY) + ONE_OF_EACH)
    ]
    assert list(frames_of(b"".join(frames))) == frames
    assert [frame_id(frame) for frame in frames] == [4_096 * n for n in range(len(frames))]


@given(st.text(st.characters()) | st.just(NAUGHTY))
def test_any_text_arrives(text: str) -> None:
    """Also half a surrogate pair, which UTF-8 cannot carry; none of it can forge an event."""
    shown = sent(events.tool_result(1, "t", text, is_error=True))
    # A pair that stood in two halves is read as the character that it is.
    assert shown["content"] == json.loads(json.dumps(text))
    assert (
        "".join(sent(event)["content"] for event in events.claude_delta(1, text))
        == (shown["content"])
    )


@given(JSON)
def test_any_input_arrives(value: object) -> None:
    """A small value is sent as it is."""
    event = events.tool_use(1, "t", "Tool", value)
    assert sent(event)["input"] == json.loads(json.dumps(value))
    assert "truncated" not in event.data


@pytest.mark.parametrize("character", ["a", "\n", '"', "é", "\u2028", "漢", "😀", "\0", "\ud800"])
@pytest.mark.parametrize("more", [-1, 0, 1, 10_000_000])
def test_a_text_is_cut_at_the_border(character: str, more: int) -> None:
    """As long as it may be and no longer, whole characters, and it says so."""
    each = size(character) - 2
    fits = (MAX_VALUE_BYTES - 2) // each
    text = character * (fits + more)
    shown, truncated = cut(text)
    assert (len(shown), truncated) == (min(fits, len(text)), more > 0)
    assert size(shown) <= MAX_VALUE_BYTES
    assert (
        "truncated" in events.complete(session_id="s", turns=1, result=text, usage=USED).data
    ) is (more > 0)


def test_a_long_text_of_the_model_is_split_and_not_cut() -> None:
    """10 MB of it, in events that are each small enough."""
    text = ("é\n😀" * 1_500_000)[:5_000_000]
    started = time.perf_counter()
    found = events.claude_delta(1, text)
    assert time.perf_counter() - started < 5
    assert "".join(event.data["content"] for event in found) == text
    assert all(size(event.data["content"]) <= MAX_VALUE_BYTES for event in found)
    assert not any("truncated" in event.data for event in found)
    assert list(split("")) == []


def test_a_large_input_is_the_beginning_of_its_json() -> None:
    """Readable, marked, small enough."""
    given_input = {"file_path": "/a", "content": "x" * MAX_VALUE_BYTES}
    data = sent(events.tool_use(1, "t", "Write", given_input))
    assert data["truncated"] is True
    assert data["input"].startswith('{"file_path":"/a","content":"xxx')
    assert size(data["input"]) <= MAX_VALUE_BYTES
    exact = {"x": "y" * (MAX_VALUE_BYTES - len('{"x":""}'))}
    assert cut(exact) == (exact, False)


def test_what_is_no_json_is_left_out() -> None:
    """Python reads NaN and any depth; nobody else would read it from us."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in ({"x": float("nan")}, [float("inf")], deep):
        assert sent(events.tool_use(1, "t", "Tool", value))["input"] == ""


def test_a_long_list_of_files_is_cut_between_files() -> None:
    """As many as fit; the message counts all of them."""
    files = [{"path": f"folder/é{number}", "status": "modified"} for number in range(20_000)]
    event = events.file_change("20,000 files changed", workspace_dir="/tmp/ws-1", files=files)
    shown = event.data["files"]
    assert event.data["truncated"] is True
    assert shown == files[: len(shown)]
    assert len(to_json(shown)) <= MAX_VALUE_BYTES <= len(to_json(files[: len(shown) + 1]))
    assert cut_list(shown) == (shown, False)


def test_the_prompt_is_shown_by_its_first_words() -> None:
    """200 characters, whatever their size."""
    assert sent(events.claude_start(1, "😀" * 201))["prompt"] == "😀" * 200


def test_everything_else_has_a_bound_too() -> None:
    """No frame is longer than its parts may be together, whatever Claude Code or a tool says."""
    long = "😀" * 100_000
    found = [
        events.status(long, code=long),
        events.tool_use(1, long, long, long),
        events.tool_result(1, long, long, is_error=True),
        events.file_change(long, workspace_dir=long, files=[{"path": long, "status": "added"}]),
        events.error(long, long),
    ]
    for event in found:
        assert len(encode(event, id=1, timestamp=MOMENT)) < MAX_VALUE_BYTES + 3 * 4 * MAX_SHORT


def test_numbers_and_names_cannot_break_out() -> None:
    """An event's name is ours; the codec refuses one with a line break."""
    with pytest.raises(ValueError, match="event"):
        encode(SessionEvent("a\nb", {}), id=1, timestamp=MOMENT)


def test_encoding_is_fast() -> None:
    """At least twenty thousand deltas a second, with room for a busy machine."""
    [event] = events.claude_delta(1, "A few words of a model, as they come. ")
    started = time.perf_counter()
    for number in range(20_000):
        encode(event, id=number, timestamp=MOMENT)
    assert time.perf_counter() - started < 1.0


def test_the_reserved_field_is_not_overwritten() -> None:
    """The time is the log's, also where an event brings one."""
    data = sent(SessionEvent("status", {"message": "x", "timestamp": "never"}))
    assert re.fullmatch(r"2026-11-22T04:50:44\.646Z", data["timestamp"])
