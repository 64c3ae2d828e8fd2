"""The events of a session as values, against the models of what a gateway sends."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_run.errors import UpstreamError
from claude_run.session_events import (
    ClaudeDeltaEvent,
    CompleteEvent,
    FileChangeEvent,
    FileStatus,
    SessionErrorEvent,
    SessionEvent,
    StatusEvent,
    ToolResultEvent,
    ToolUseEvent,
    UsageEvent,
    parse_session_event,
)
from claude_run.session_status import parse_page, parse_status
from claude_run.sse import ServerSentEvent
from claude_run.wire_sessions import EVENT_DATA

TIME = "2026-11-22T12:00:00.000Z"
# A class has no two meanings of `id` and `name`: those of the event come first.
RENAMED = {"id": "tool_id", "name": "tool"}


def parse(event: str, /, **data: object) -> SessionEvent:
    body = json.dumps({**data, "timestamp": TIME})
    return parse_session_event(ServerSentEvent(event=event, data=body, id="7"))


@pytest.mark.parametrize("name", EVENT_DATA)
def test_every_event_of_the_gateway_has_a_class_with_all_its_fields(name: str) -> None:
    """What a gateway of this version sends, this client gives; nothing is left out."""
    event = parse(name)
    fields = EVENT_DATA[name].model_fields
    assert type(event) is not SessionEvent
    assert {RENAMED.get(field, field) for field in fields} <= {
        field.name for field in dataclasses.fields(event)
    }
    assert (event.name, event.id, event.timestamp) == (name, 7, TIME)
    assert event.terminal == (name in ("complete", "error"))


def test_the_fields_are_what_the_data_says() -> None:
    """One of each that has more than a text."""
    status = parse("status", message="x", code="C", prUrl="u")
    assert isinstance(status, StatusEvent)
    assert (status.message, status.code, status.pr_url) == ("x", "C", "u")
    delta = parse("claude_delta", turn=2, content="a\u2028")
    assert isinstance(delta, ClaudeDeltaEvent)
    assert (delta.turn, delta.content) == (2, "a\u2028")
    use = parse("tool_use", turn=1, id="t", name="Read", input={"a": 1})
    assert isinstance(use, ToolUseEvent)
    assert (use.tool_id, use.tool, use.input) == ("t", "Read", {"a": 1})
    result = parse("tool_result", turn=1, id="t", isError=True, content="no", truncated=True)
    assert isinstance(result, ToolResultEvent)
    assert (result.is_error, result.content, result.truncated) == (True, "no", True)
    usage = parse("usage", turn=1, inputTokens=3, outputTokens=4, costUsd=0.5)
    assert isinstance(usage, UsageEvent)
    assert (usage.input_tokens, usage.output_tokens, usage.cost_usd) == (3, 4, 0.5)
    files = parse("file_change", message="m", files=[{"path": "a", "status": "added"}, 3])
    assert isinstance(files, FileChangeEvent)
    assert files.files == (FileStatus(path="a", status="added"),)
    done = parse("complete", sessionId="s", turns=2, result="r", usage={"costUsd": 1}, prUrl="u")
    assert isinstance(done, CompleteEvent)
    assert (done.turns, done.result, done.usage, done.pr_url) == (2, "r", {"costUsd": 1}, "u")
    assert done.agent_turns == 0
    done = parse("complete", sessionId="s", turns=2, agentTurns=5)
    assert isinstance(done, CompleteEvent)
    assert (done.turns, done.agent_turns) == (2, 5)
    error = parse("error", message="m")
    assert isinstance(error, SessionErrorEvent)
    assert error.code == "UPSTREAM_ERROR"


@given(st.text(), st.dictionaries(st.text(), st.integers() | st.text()) | st.text())
def test_an_event_of_a_newer_gateway_is_passed_through(name: str, data: object) -> None:
    """With its name and its data as it stands, whatever that is."""
    raw = data if isinstance(data, str) else json.dumps(data)
    event = parse_session_event(ServerSentEvent(event=f"x{name}", data=raw, id="1"))
    assert type(event) is SessionEvent
    assert (event.name, event.raw) == (f"x{name}", raw)


@pytest.mark.parametrize("name", EVENT_DATA)
@pytest.mark.parametrize("data", ["", "null", "[]", '"x"', "{", "[" * 100_000, "9" * 5_000])
def test_nonsense_is_an_error(name: str, data: str) -> None:
    """The event's name is told, its data is not."""
    with pytest.raises(UpstreamError, match=name):
        parse_session_event(ServerSentEvent(event=name, data=data, id="1"))


@pytest.mark.parametrize("name", EVENT_DATA)
@given(st.dictionaries(
    st.sampled_from(["turn", "content", "files", "usage", "turns", "input", "costUsd", "code"]),
    st.none() | st.booleans() | st.text() | st.floats() | st.lists(st.none()),
))  # fmt: skip
def test_fields_of_a_strange_type_are_absent(name: str, data: dict[str, object]) -> None:
    """A reader's program does not end because of one."""
    assert parse_session_event(ServerSentEvent(event=name, data=json.dumps(data), id="1")).id == 1


# --- status -------------------------------------------------------------------------------------

RECORD = {"sessionId": "s", "status": "completed", "currentTurn": 1}


def test_a_status_has_names_and_times() -> None:
    """What is missing or no time is None."""
    status = parse_status(
        RECORD | {"createdAt": 1_000, "completedAt": 1e300, "repository": {"url": "https://x/y"}}
    )
    assert status.created_at is not None
    assert status.created_at.timestamp() == 1
    assert (status.completed_at, status.last_activity_at) == (None, None)
    assert status.repository == "https://x/y"
    assert parse_status(RECORD | {"repository": {"name": "a/b", "url": "u"}}).repository == "a/b"
    assert parse_status(RECORD).over
    assert not parse_status(RECORD | {"status": "processing"}).over


@pytest.mark.parametrize("value", [{}, RECORD | {"currentTurn": "1"}, {"status": 1}])
def test_what_is_no_status_is_an_error(value: dict[str, object]) -> None:
    """Alone and in a list."""
    with pytest.raises(UpstreamError):
        parse_status(value)
    for page in ({"sessions": [value]}, {"sessions": [1]}, {"sessions": None}, {}):
        with pytest.raises(UpstreamError):
            parse_page(page)
