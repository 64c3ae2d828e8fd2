"""What is shown of a run: words, one line for a tool, what went wrong, the receipt."""

import json
from typing import Any

import pytest

from claude_run.cli.receipt import MAX_FILES_SHOWN
from claude_run.cli.show import Show
from claude_run.cli.style import Style, style_for
from claude_run.events import RunEvent, parse_event

PLAIN = Style()


def message(**fields: Any) -> RunEvent:  # noqa: ANN401 - a line of Claude Code's
    return parse_event("message", json.dumps(fields))


def stream(event: dict[str, Any], **fields: object) -> RunEvent:
    return message(type="stream_event", event=event, **fields)


def start(name: str = "m1") -> RunEvent:
    return stream({"type": "message_start", "message": {"id": name}})


def delta(text: str, **fields: object) -> RunEvent:
    return stream(
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}, **fields
    )


def assistant(*blocks: dict[str, Any], name: str = "m1", **fields: object) -> RunEvent:
    return message(type="assistant", message={"id": name, "content": list(blocks)}, **fields)


def tool(name: str, **given: object) -> dict[str, Any]:
    return {"type": "tool_use", "name": name, "input": given}


INIT = message(type="system", subtype="init", cwd="/tmp/ws-1")
RESULT = message(
    type="result",
    num_turns=2,
    total_cost_usd=0.08392,
    usage={
        "input_tokens": 84,
        "cache_read_input_tokens": 20_000,
        "cache_creation_input_tokens": 300,
        "output_tokens": 118,
    },
)


def changes(base: str | None, *files: dict[str, Any]) -> RunEvent:
    return parse_event("changes", json.dumps({"base": base, "files": list(files)}))


def shown(*events: RunEvent, style: Style = PLAIN) -> str:
    show = Show(style=style)
    return "".join(map(show.feed, events))


def test_words_come_as_they_are_made() -> None:
    """Each delta is text at once; the whole message that follows repeats nothing."""
    show = Show(style=PLAIN)
    assert show.feed(start()) == ""
    assert show.feed(delta("Hel")) == "Hel"
    assert show.feed(delta("lo")) == "lo"
    assert show.feed(assistant({"type": "text", "text": "Hello"})) == ""
    assert show.feed(parse_event("done", "[DONE]")) == "\n"


def test_words_that_did_not_come_in_deltas_are_shown_too() -> None:
    """Claude Code makes some messages by itself, such as that of an API error."""
    text = {"type": "text", "text": "API Error: 529"}
    assert shown(start(), delta("Hi"), assistant(text, name="made-up")) == "Hi\nAPI Error: 529"


def test_a_tool_is_one_line_without_the_workspace() -> None:
    """The line says what it works on, on a line of its own, and nothing of its content."""
    write = tool("Write", content="secret\nstuff", file_path="/tmp/ws-1/src/a.py")
    bash = tool("Bash", command="cd /tmp/ws-1/src\nls", description="List")
    told = shown(INIT, start(), delta("Now."), assistant(write), assistant(bash))
    assert told == "Now.\n  ▸ Write src/a.py\n  ▸ Bash cd src ls\n"


def test_a_tool_whose_input_tells_nothing_is_its_name() -> None:
    """Also where the input has other types than the known ones."""
    assert shown(assistant(tool("TaskList"))) == "  ▸ TaskList\n"
    assert shown(assistant(tool("X", file_path=["a"], command=""))) == "  ▸ X\n"


def test_a_subagent_is_heard_by_its_tools_only() -> None:
    """Its words go to the agent that started it; its tools stand further in."""
    sub = {"parent_tool_use_id": "toolu_1"}
    said = {"type": "text", "text": "internal"}
    told = shown(delta("internal", **sub), assistant(said, tool("Read", file_path="b"), **sub))
    assert told == "    ▸ Read b\n"


@pytest.mark.parametrize(
    "content", ["Denied.\nMore.", [{"type": "text", "text": "Denied.\nMore."}]]
)
def test_a_tool_that_failed_says_why(content: object) -> None:
    """One line of its result; results of tools that worked are not shown."""
    failed = {"type": "tool_result", "is_error": True, "content": content}
    worked = {"type": "tool_result", "content": "fine"}
    told = shown(message(type="user", message={"content": [worked, failed]}))
    assert told == "    ✗ Denied. More.\n"


def test_a_warning_is_a_line() -> None:
    """With its code."""
    warned = {"code": "UNKNOWN_TOOL", "message": "No tool\nnamed X."}
    told = shown(delta("a"), parse_event("warning", json.dumps(warned)))
    assert told == "a\n! No tool named X. (UNKNOWN_TOOL)\n"


def test_everything_shown_is_made_harmless() -> None:
    """Words, tool names, inputs, failures, warnings and file names."""
    bad = "\x1b[2J\x07"
    failed = {"type": "tool_result", "is_error": True, "content": bad}
    show = Show(style=PLAIN, cloning=bad)
    told = [
        show.waiting_for or "",
        show.feed(delta(bad)),
        show.feed(assistant({"type": "text", "text": bad}, tool(bad, command=bad), name="x")),
        show.waiting_for or "",
        show.feed(message(type="user", message={"content": [failed]})),
        show.feed(parse_event("warning", json.dumps({"code": bad, "message": bad}))),
    ]
    show.feed(changes(None, {"path": f"{bad}\n", "mode": "100644", "content": ""}))
    told.append(show.receipt(1.0))
    assert "\x1b" not in "".join(told)
    assert "\x07" not in "".join(told)
    assert all("␛[2J␇" in text for text in told)


def test_nonsense_is_not_shown_and_breaks_nothing() -> None:
    """Lines of unknown kinds, and known kinds of another shape."""
    odd = [
        message(type="new_kind"),
        message(type="assistant", message={"content": "text"}),
        message(type="assistant", message={"content": [None, 3, {"type": "text"}]}),
        message(type="user", message={"content": [{"type": "tool_result", "is_error": True}]}),
        message(type="stream_event", event={"type": "content_block_delta", "delta": None}),
        message(type="system", subtype="init", cwd=7),
        parse_event("news", "x"),
    ]
    assert shown(*odd) == ""
    show = Show(style=PLAIN)
    show.feed(message(type="result", num_turns="2", usage={"input_tokens": "x"}, total_cost_usd={}))
    assert show.receipt(0.5).splitlines()[1] == "0 tokens in, 0 out · 0.5 s"


def test_the_status_line_says_what_is_waited_for() -> None:
    """And nothing while the line holds unfinished words."""
    show = Show(style=PLAIN, cloning="octo/hello")
    said = [show.waiting_for]
    thinking = {"type": "content_block_start", "content_block": {"type": "thinking"}}
    used = assistant(tool("Bash", command="ls"))
    back = message(type="user", message={"content": []})
    for event in (INIT, stream(thinking), delta("Hm"), used, back, delta("x\n"), RESULT):
        show.feed(event)
        said.append(show.waiting_for)
    assert said == [
        "cloning octo/hello", "waiting for the model", "thinking", None, "running Bash",
        "waiting for the model", "waiting for the model", "collecting the files",
    ]  # fmt: skip
    assert Show(style=PLAIN).waiting_for == "starting"


def test_the_receipt_of_a_run_without_a_repository() -> None:
    """Turns, all tokens, cost, seconds; every file is new."""
    show = Show(style=PLAIN)
    show.feed(RESULT)
    show.feed(changes(None, {"path": "a.txt", "mode": "100644", "content": "", "new": True}))
    assert show.receipt(2.04) == (
        "\n2 turns · 20,384 tokens in (20,000 of them cached), 118 out · $0.0839 · 2.0 s\n"
        "1 file changed:\n  + a.txt\n"
    )


def test_the_receipt_of_a_run_on_a_repository() -> None:
    """Written and deleted files are told apart; names that are not UTF-8 are shown as they can."""
    show = Show(style=PLAIN)
    written = {"path": "a.txt", "mode": "100644", "content": ""}
    strange = {"pathBase64": "/2I=", "deleted": True}
    show.feed(changes("a" * 40, written, strange))
    assert show.receipt(1) == "\n1.0 s\n2 files changed:\n  ~ a.txt\n  - \ufffdb\n"


def test_the_last_change_set_holds_and_a_long_one_is_cut() -> None:
    """Checkpoints come before; the number is always that of all files."""
    many = [{"path": f"f{n}", "mode": "100644", "content": ""} for n in range(1_000)]
    show = Show(style=PLAIN)
    show.feed(changes(None, *many))
    lines = show.receipt(1).splitlines()
    assert lines[2] == "1,000 files changed:"
    assert len(lines) == 3 + MAX_FILES_SHOWN + 1
    assert lines[-1] == "  … and 960 more"
    show.feed(changes(None))
    assert show.receipt(1) == "\n1.0 s\nno files changed\n"


def test_a_run_that_died_early_has_a_receipt_too() -> None:
    """It does not claim that nothing changed."""
    assert Show(style=PLAIN).receipt(0.1) == "\n0.1 s\nthe files that changed are not known\n"


def test_a_run_that_never_began_has_none() -> None:
    """Of a repository that cannot be cloned there is nothing to account for."""
    show = Show(style=PLAIN)
    show.feed(parse_event("error", '{"error": "No.", "code": "CLONE_FAILED", "details": {}}'))
    assert not show.began
    show.feed(INIT)
    assert show.began


def test_while_a_tool_is_prepared_the_line_is_free_to_say_so() -> None:
    """A file that is written is a long input, of which nothing is shown."""
    show = Show(style=PLAIN)
    show.feed(start())
    assert show.feed(delta("Writing it.")) == "Writing it."
    assert show.waiting_for is None
    block = {"type": "tool_use", "id": "t", "name": "Write", "input": {}}
    assert show.feed(stream({"type": "content_block_start", "content_block": block})) == "\n"
    assert show.waiting_for == "preparing Write"


def test_colour_is_for_terminals_that_have_it() -> None:
    """NO_COLOR, a dumb terminal and a pipe each mean none."""
    xterm = {"TERM": "xterm"}
    assert style_for(terminal=True, environ=xterm).colour
    assert style_for(terminal=True, environ=xterm | {"NO_COLOR": ""}).colour
    assert not style_for(terminal=True, environ=xterm | {"NO_COLOR": "0"}).colour
    assert not style_for(terminal=True, environ={"TERM": "dumb"}).colour
    assert not style_for(terminal=True, environ={}).colour
    assert not style_for(terminal=False, environ=xterm).colour
    assert shown(assistant(tool("Read")), style=Style(colour=True)) == "\x1b[2m  ▸ Read\x1b[0m\n"
