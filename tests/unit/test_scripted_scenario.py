"""A scenario is read strictly: a wrong one is refused, and the refusal names the field."""

import json
from typing import Any

import pytest

from claude_run.errors import CallerError
from runner.scripted.scenario import parse_library, parse_scenario

TEXT = {"type": "text", "text": "x"}


def turn(**fields: object) -> dict[str, Any]:
    return {"turns": [{"blocks": [TEXT], **fields}]}


def block(**fields: object) -> dict[str, Any]:
    return {"turns": [{"blocks": [fields]}]}


@pytest.mark.parametrize(
    ("scenario", "field"),
    [
        ({}, "turns"),
        ({"turns": []}, "turns"),
        ({"turns": [{}]}, "turns.0"),
        ({"turns": [{"blocks": [TEXT]}], "more": 1}, "more"),
        (turn(block=1), "turns.0.block"),
        (turn(stop_reason="later"), "turns.0.stop_reason"),
        (turn(usage={"input_tokens": -1}), "turns.0.usage.input_tokens"),
        (turn(usage={"output_tokens": "5"}), "turns.0.usage.output_tokens"),
        (turn(error={"status": 418}), "turns.0.error.status"),
        (turn(error={"status": 429, "times": 0}), "turns.0.error.times"),
        (turn(fault={"type": "flood"}), "turns.0.fault"),
        (turn(fault={"type": "silence"}), "turns.0.fault.silence.seconds"),
        (turn(fault={"type": "silence", "seconds": 3601}), "turns.0.fault.silence.seconds"),
        (block(type="image"), "turns.0.blocks.0"),
        (block(type="text"), "turns.0.blocks.0.text"),
        (block(type="text", text="a", chunks=["b"]), "turns.0.blocks.0.text"),
        (block(type="text", chunks=["b"], chunk_size=1), "turns.0.blocks.0.text"),
        (block(type="text", text="a", chunk_size=0), "turns.0.blocks.0.text.chunk_size"),
        (block(type="text", text="a", repeat=1_000_001), "turns.0.blocks.0.text.repeat"),
        (block(type="text", text="a" * 200, repeat=1_000_000), "turns.0.blocks.0.text"),
        (block(type="text", text="a", delay_ms=60_001), "turns.0.blocks.0.text.delay_ms"),
        (block(type="thinking"), "turns.0.blocks.0.thinking"),
        (block(type="tool_use", name="no name"), "turns.0.blocks.0.tool_use.name"),
        (block(type="tool_use", name="Bash", input=[]), "turns.0.blocks.0.tool_use.input"),
    ],
)
def test_the_wrong_field_is_named(scenario: dict[str, Any], field: str) -> None:
    """Wrong type, out of range, unknown, missing, contradictory: each is refused by its name."""
    with pytest.raises(CallerError) as refusal:
        parse_scenario(json.dumps(scenario))
    assert refusal.value.details["field"] == field
    assert refusal.value.message.startswith(f"scenario: {field}: ")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"turns": [], "turns": []}', "NaN", "[" * 100_000]
)
def test_what_is_no_json_object_is_refused(text: str) -> None:
    """Not JSON, no object, a name twice, deep nesting: refused as a scenario, not as a crash."""
    with pytest.raises(CallerError, match=r"^scenario: "):
        parse_scenario(text)


def test_the_stop_reason_follows_from_the_blocks() -> None:
    """A turn that calls a tool stops for it, another ends; a given reason wins."""
    call = {"type": "tool_use", "name": "Bash"}
    scenario = parse_scenario(
        json.dumps(
            {
                "turns": [
                    {"blocks": [TEXT]},
                    {"blocks": [TEXT, call]},
                    {"blocks": [call], "stop_reason": "max_tokens"},
                ]
            }
        )
    )
    assert [each.reason for each in scenario.turns] == ["end_turn", "tool_use", "max_tokens"]


def test_a_library_maps_names_to_scenarios() -> None:
    """A file's scenarios are read as strictly as a prompt's, names included."""
    library = parse_library(json.dumps({"default": turn(), "other-1": turn()}).encode())
    assert set(library) == {"default", "other-1"}
    with pytest.raises(CallerError, match=r"scenarios.a.turns"):
        parse_library(b'{"a": {"turns": []}}')
    with pytest.raises(CallerError, match="scenarios"):
        parse_library(json.dumps({"not a name": turn()}).encode())
