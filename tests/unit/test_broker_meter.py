"""What an answer cost, read from the answer, however it is cut and wherever it ends."""

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_run.prices import cost_usd
from runner.broker.meter import HEADROOM, Meter, UsageReader

START: dict[str, Any] = {
    "type": "message_start",
    "message": {
        "model": "claude-opus-4-5",
        "usage": {
            "input_tokens": 100, "cache_creation_input_tokens": 10,
            "cache_read_input_tokens": 1_000, "output_tokens": 1,
        },
    },
}  # fmt: skip
DELTA = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": 'a "usage": 9'}}
END = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 50}}


def stream(*events: Mapping[str, object]) -> bytes:
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )


def read(*chunks: bytes) -> Meter:
    meter, reader = Meter(), UsageReader()
    for chunk in chunks:
        reader.feed(chunk)
    reader.finish(meter)
    return meter


def test_a_streamed_answer() -> None:
    """Input at its start, output at its end; what is written to the cache counts as input."""
    meter = read(stream(START, DELTA, END))
    assert (meter.input_tokens, meter.output_tokens) == (110, 50)
    usage = START["message"]["usage"] | {"output_tokens": 50}
    assert meter.cost_usd == pytest.approx(cost_usd("claude-opus-4-5", usage))


@given(st.lists(st.integers(0, 2_000), max_size=20))
def test_cuts_change_nothing(cuts: list[int]) -> None:
    """Anywhere, also within a line."""
    whole = stream(START, DELTA, DELTA, END)
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    chunks = [whole[a:b] for a, b in itertools.pairwise(edges)]
    assert read(*chunks) == read(whole)


def test_a_whole_answer() -> None:
    """One JSON object, without a line's end."""
    body = {"type": "message", "model": "claude-haiku-4-5", "usage": {"output_tokens": 7}}
    meter = read(json.dumps(body).encode())
    assert meter.output_tokens == 7
    assert meter.cost_usd == pytest.approx(cost_usd("claude-haiku-4-5", {"output_tokens": 7}))


def test_an_answer_that_broke_off_is_estimated() -> None:
    """Its count comes last, so that hanging up before it would be free."""
    assert read(stream(START, *[DELTA] * 100)).output_tokens > 100
    assert read(stream(START, *[DELTA] * 100, END)).output_tokens == 50


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xfe\x00",
        b'data: {"usage"\n',
        b'data: ["usage"]\n',
        b'data: {"usage": 7}\n',
        b'{"type":"error","error":{"message":"no \\"usage\\" here"}}',
        b'data: {"usage": {"output_tokens": "many", "input_tokens": -5}}\n',
    ],
)
def test_nonsense_costs_nothing(answer: bytes) -> None:
    """And raises nothing."""
    meter = read(answer)
    assert (meter.input_tokens, meter.output_tokens, meter.cost_usd) == (0, 0, 0)


def test_a_line_without_an_end_is_let_go() -> None:
    """Memory is bounded; what comes after the next line's end counts again."""
    reader, meter = UsageReader(), Meter()
    reader.feed(stream(START))
    for _ in range(10):
        reader.feed(b"x" * 100_000)
    assert len(reader._tail) <= 256 * 1024
    reader.feed(b"\n" + stream(END))
    reader.finish(meter)
    assert meter.output_tokens == 50


def test_an_unknown_model_costs_as_much_as_the_dearest() -> None:
    """A new name must not be free."""
    unknown, known = Meter(), Meter()
    unknown.add("claude-new", {"output_tokens": 1_000_000})
    for name in ("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"):
        known.add(name, {"output_tokens": 1_000_000})
        assert unknown.cost_usd >= known.cost_usd
        known.cost_usd = 0.0


def test_a_budget_is_spent_with_some_room_for_claude_code_to_be_first() -> None:
    """Its own count is exact and ends the run in good order."""
    meter = Meter(cost_usd=1.0 * HEADROOM - 0.01)
    assert not meter.spent(1.0)
    meter.cost_usd += 0.02
    assert meter.spent(1.0)
    assert not meter.spent(None)
