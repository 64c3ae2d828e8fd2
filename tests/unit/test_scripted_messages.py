"""Answers have the form of the Messages API, and placeholders are filled."""

import json
from typing import Any

import pytest

from runner.scripted.messages import Answer, error_body, error_event, events, whole
from runner.scripted.scenario import Turn


def answer(*blocks: dict[str, Any], values: dict[str, str] | None = None, **turn: object) -> Answer:
    return Answer(
        id="msg_1",
        model="some-model",
        turn=Turn.model_validate({"blocks": list(blocks), **turn}),
        values=values or {},
        prompt_tokens=7,
    )


def stream(said: Answer) -> list[tuple[str, dict[str, Any]]]:
    """Events as kind and data; the form of each is checked on the way."""
    found = []
    for event in events(said):
        first, second, *rest = event.data.decode().split("\n")
        assert rest == ["", ""]
        kind, data = first.removeprefix("event: "), json.loads(second.removeprefix("data: "))
        assert data["type"] == kind
        found.append((kind, data))
    return found


def pieces(said: Answer, kind: str, field: str) -> list[str]:
    deltas = [data["delta"] for name, data in stream(said) if name == "content_block_delta"]
    return [delta[field] for delta in deltas if delta["type"] == kind]


def test_a_stream_has_the_order_of_the_real_one() -> None:
    """Start, blocks with a ping after the first opens, the usage, the end."""
    thinking = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    text = {"type": "text", "text": "ok"}
    call = {"type": "tool_use", "name": "Bash", "input": {"command": "id"}, "id": "toolu_x"}
    usage = {"input_tokens": 3, "output_tokens": 9, "cache_read_input_tokens": 5}
    found = stream(answer(thinking, text, call, usage=usage))
    assert [kind for kind, _ in found] == [
        "message_start",
        *("content_block_start", "ping", *["content_block_delta"] * 2, "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
        *("content_block_start", *["content_block_delta"] * 2, "content_block_stop"),
        "message_delta",
        "message_stop",
    ]
    message = found[0][1]["message"]
    assert message["model"] == "some-model"
    assert message["usage"]["input_tokens"] == 3
    assert message["usage"]["output_tokens"] == 1
    assert message["usage"]["cache_read_input_tokens"] == 5
    assert found[-2][1]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert found[-2][1]["usage"]["output_tokens"] == 9
    opened = [data["content_block"] for kind, data in found if kind == "content_block_start"]
    assert opened[2] == {"type": "tool_use", "id": "toolu_x", "name": "Bash", "input": {}}
    assert found[4][1]["delta"] == {"type": "signature_delta", "signature": "sig"}


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"text": "abcde"}, ["abcde"]),
        ({"text": "abcde", "chunk_size": 2}, ["ab", "cd", "e"]),
        ({"chunks": ["a", "", "bc"]}, ["a", "", "bc"]),
        ({"text": "ab", "chunk_size": 1, "repeat": 2}, ["a", "b", "a", "b"]),
        ({"text": "{{n}};", "repeat": 3}, ["1;", "2;", "3;"]),
        ({"chunks": ["{{n}}", "-"], "repeat": 2}, ["1", "-", "2", "-"]),
        ({"text": "ü€\U0001f600\n", "chunk_size": 1}, ["ü", "€", "\U0001f600", "\n"]),
        ({"text": "{{cwd}}{{other}}{{cwd}}"}, ["/w{{other}}/w"]),
        ({"text": "{{last_result}}"}, ["{{cwd}}"]),
    ],
)
def test_a_text_comes_in_the_chosen_deltas(block: dict[str, Any], expected: list[str]) -> None:
    """Chunks, sizes, repetitions and placeholders; what was filled in is not filled again."""
    values = {"cwd": "/w", "last_result": "{{cwd}}"}
    said = answer({"type": "text", **block}, values=values)
    assert pieces(said, "text_delta", "text") == expected
    assert json.loads(whole(said))["content"][0]["text"] == "".join(expected)


def test_a_tools_input_comes_whole() -> None:
    """Pieces of JSON join to the input, its strings filled at any depth."""
    given = {"a": ["{{cwd}}/x", {"b": "{{cwd}}"}], "n": 1.5, "t": None, "{{cwd}}": True}
    filled = {"a": ["/w/x", {"b": "/w"}], "n": 1.5, "t": None, "{{cwd}}": True}
    call = {"type": "tool_use", "name": "X", "input": given, "chunk_size": 3}
    said = answer(call, values={"cwd": "/w"})
    assert json.loads("".join(pieces(said, "input_json_delta", "partial_json"))) == filled
    assert json.loads(whole(said))["content"][0]["input"] == filled


def test_every_call_of_an_answer_has_an_id_of_its_own() -> None:
    """Several calls of one tool can be told apart, and the stream and the object agree."""
    call = {"type": "tool_use", "name": "X"}
    said = answer(call, call)
    ids = [block["id"] for block in json.loads(whole(said))["content"]]
    starts = [data for kind, data in stream(said) if kind == "content_block_start"]
    opened = [data["content_block"]["id"] for data in starts]
    assert len(set(ids)) == 2
    assert ids == opened


def test_delays_are_before_each_delta_only() -> None:
    """The frame of a block comes at once, its deltas at their pace."""
    said = answer({"type": "text", "text": "abc", "chunk_size": 1, "delay_ms": 20})
    assert [event.delay for event in events(said)] == [0, 0, 0, 0.02, 0.02, 0.02, 0, 0, 0]


def test_usage_is_estimated_where_none_is_given() -> None:
    """About four characters make a token."""
    message = json.loads(whole(answer({"type": "text", "text": "abcd", "repeat": 10})))
    assert message["usage"]["input_tokens"] == 7
    assert message["usage"]["output_tokens"] == 11
    assert message["stop_reason"] == "end_turn"


def test_a_long_stream_is_made_lazily() -> None:
    """A million deltas cost nothing before they are asked for, and are encoded once."""
    said = answer({"type": "text", "text": "x", "repeat": 1_000_000})
    made = events(said)
    deltas = [next(made).data for _ in range(1_000)][3:]
    assert len({id(data) for data in deltas}) == 1


def test_errors_have_anthropics_form() -> None:
    """As HTTP body with the request's id, as event without."""
    assert json.loads(error_body("overloaded_error", "Overloaded", "req_1")) == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "req_1",
    }
    event = error_event("overloaded_error", "Overloaded")
    assert event.startswith(
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"'
    )
