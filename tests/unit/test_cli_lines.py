"""`--json`: one line for each event, that gives back what the event held."""

import json

import pytest

from claude_run.cli.lines import json_line
from claude_run.events import parse_event

EVENTS = {
    "message": {"type": "assistant", "text": "a\u2028b\n\x1b[2J 日本"},
    "warning": {"code": "X", "message": "y"},
    "transcript": {"path": "a/b.jsonl", "entries": ["{}"]},
    "changes": {
        "base": None,
        "files": [
            {"path": "a", "mode": "100755", "content": "aGk="},
            {"path": "b", "deleted": True},
        ],
    },
    "error": {"error": "late", "code": "TIMEOUT", "details": {"timeoutMinutes": 1}},
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_its_name_and_its_data(name: str) -> None:
    """One line of ASCII, whatever is in it; nothing is added and nothing lost."""
    line = json_line(parse_event(name, json.dumps(EVENTS[name])))
    assert line.isascii()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert json.loads(line) == {"event": name, "data": EVENTS[name]}


def test_events_without_an_object() -> None:
    """The end, and whatever a newer server sends."""
    assert json.loads(json_line(parse_event("done", "[DONE]"))) == {
        "event": "done",
        "data": "[DONE]",
    }
    assert json.loads(json_line(parse_event("news", "x y"))) == {"event": "news", "data": "x y"}


def test_half_a_surrogate_pair_survives() -> None:
    """It has no UTF-8, and goes escaped."""
    line = json_line(parse_event("message", '{"a": "\\ud83d"}'))
    assert json.loads(line)["data"] == {"a": "\ud83d"}
