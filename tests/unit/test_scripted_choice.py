"""The turn follows from the conversation alone."""

import json
from typing import Any

import pytest

from claude_run.errors import CallerError
from runner.scripted.choice import Choice, choose
from runner.scripted.conversation import read_conversation
from runner.scripted.scenario import Library, Text, ToolUse, parse_scenario


def body(*texts: str) -> str:
    return json.dumps({"turns": [{"blocks": [{"type": "text", "text": text}]} for text in texts]})


def tag(*texts: str) -> str:
    return f"<scenario>{body(*texts)}</scenario>"


def library(**texts: str) -> Library:
    return {name: parse_scenario(body(text)) for name, text in texts.items()}


def pick(*said: str, library: Library | None = None, **fields: object) -> Choice:
    """The choice after the user and the assistant have taken turns; the user begins."""
    messages = [
        {"role": ("user", "assistant")[index % 2], "content": text}
        for index, text in enumerate(said)
    ]
    conversation = read_conversation({"model": "m", "messages": messages, **fields})
    return choose(conversation, library or {})


def words(choice: Choice) -> str:
    return "".join(block.source for block in choice.turn.blocks if isinstance(block, Text))


def test_answers_since_the_scenario_number_the_turn() -> None:
    """Each answer of the assistant moves on by one, also over later words without a scenario."""
    prompt = f"Please {tag('one', 'two')}"
    assert words(pick(prompt)) == "one"
    assert words(pick(prompt, "one", "go on")) == "two"
    assert "over" in words(pick(prompt, "one", "go on", "two", "and?"))


def test_a_newer_scenario_replaces_the_older() -> None:
    """A conversation that goes on begins the new scenario at its first turn."""
    assert words(pick(tag("old", "older"), "old", tag("new"))) == "new"
    assert words(pick(f"{tag('quoted')} and then {tag('meant')}")) == "meant"


def test_a_scenario_in_a_tool_result_chooses_nothing() -> None:
    """What is quoted back from a file or a transcript is no prompt."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": tag("quoted")}
    messages = [
        {"role": "user", "content": tag("one", "two")},
        {"role": "assistant", "content": tag("also quoted")},
        {"role": "user", "content": [result]},
    ]
    choice = choose(read_conversation({"model": "m", "messages": messages}), {})
    assert words(choice) == "two"
    assert choice.values["last_result"] == tag("quoted")


def test_names_choose_from_the_library() -> None:
    """A prompt names a scenario; without one the default plays, anew for each prompt."""
    known = library(default="d", other="o")
    assert words(pick('x <scenario name="other"/>', library=known)) == "o"
    assert words(pick("x", library=known)) == "d"
    assert words(pick("x", "d", "y", library=known)) == "d"
    with pytest.raises(CallerError, match="none is named 'nobody'"):
        pick('<scenario name="nobody"/>', library=known)


def test_a_wrong_scenario_is_refused() -> None:
    """A mistake in a prompt's scenario never falls back to anything else."""
    with pytest.raises(CallerError, match=r"^scenario: turns.0.block: "):
        pick('<scenario>{"turns": [{"block": []}]}</scenario>', library=library(default="d"))


def test_an_unknown_directory_is_refused() -> None:
    """A path that cannot be known is an error of the scenario, not a file at a wrong place."""
    call = {"type": "tool_use", "name": "Write", "input": {"deep": ["{{cwd}}/a"]}}
    prompt = f"<scenario>{json.dumps({'turns': [{'blocks': [call]}]})}</scenario>"
    assert pick(prompt, system="CWD: /w").values["cwd"] == "/w"
    with pytest.raises(CallerError, match="cwd"):
        pick(prompt)


def test_the_first_prompt_comes_without_its_scenario() -> None:
    """Placeholders stand for what was asked first, not for how it is answered."""
    assert pick(f"Do it. {tag('a', 'b')}", "a", "more").values["first_prompt"] == "Do it."


def test_only_repetitions_share_a_key() -> None:
    """A retry has the key of what it retries; another turn, prompt or session has its own."""
    again = [pick(tag("a", "b")).key for _ in range(2)]
    others = [
        pick(tag("a", "b"), "a", "on").key,
        pick(tag("a", "c")).key,
        pick(tag("a"), "a", tag("a")).key,
        pick(tag("a", "b"), metadata={"user_id": "other"}).key,
    ]
    assert again[0] == again[1]
    assert len({again[0], *others}) == 5


def test_a_title_is_asked_beside_the_conversation() -> None:
    """Structured output fits its schema, and the scenario quoted in the question is not played."""
    schema = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "kind": {"enum": ["bug", "task"]},
            "tags": {"type": "array"},
            "size": {"type": "object", "properties": {"lines": {"type": "integer"}}},
        },
    }
    config = {"format": {"type": "json_schema", "schema": schema}}
    answer = words(pick(f"<session>{tag('quoted')}</session>", output_config=config))
    assert json.loads(answer) == {
        "title": "scripted",
        "kind": "bug",
        "tags": [],
        "size": {"lines": 0},
    }


def test_the_demonstration_says_what_it_is_and_writes_inside_the_directory() -> None:
    """It names itself as no real model; its file is in the stated directory, new each time."""
    fields: dict[str, Any] = {"tools": [{"name": "Write"}], "system": "CWD: /work space"}
    greeting = pick("Hello", **fields)
    calls = [block for block in greeting.turn.blocks if isinstance(block, ToolUse)]
    assert "scripted model" in words(greeting)
    assert calls[0].name == "Write"
    assert calls[0].input["file_path"] == "{{cwd}}/scripted-model-1.md"
    assert "> Hello" in calls[0].input["content"]
    assert "{{last_result}}" in words(pick("Hello", "…", "", **fields))
    later = pick("Hello", "…", "And now?", **fields).turn.blocks[-1]
    assert isinstance(later, ToolUse)
    assert later.input["file_path"] == "{{cwd}}/scripted-model-2.md"


def test_the_demonstration_needs_no_tool() -> None:
    """Where Write does not exist or no directory is stated, words alone are played."""
    for fields in ({"system": "CWD: /w"}, {"tools": [{"name": "Write"}]}):
        turn = pick("Hello", **fields).turn
        assert turn.reason == "end_turn"
