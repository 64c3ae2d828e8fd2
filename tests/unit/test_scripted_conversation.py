"""What Claude Code adds to a request is told apart from what the user wrote."""

from typing import Any

import pytest

from claude_run.errors import CallerError
from runner.scripted.conversation import Conversation, read_conversation

STATED = "# Environment\n - Primary working directory: /w s\n - Is a git repository: false"
MOVED = " - Primary working directory: /w s (was /old)"
BILLING = {"type": "text", "text": "x-anthropic-billing-header: cc_version=1; cc_entrypoint=sdk;"}


def user(*texts: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def read(*messages: dict[str, Any], **fields: object) -> Conversation:
    return read_conversation({"model": "m", "messages": list(messages), **fields})


def test_reminders_are_not_the_users_words() -> None:
    """Blocks of reminders vanish, and so do reminders in front of the words in one block."""
    conversation = read(
        user("<system-reminder>\na\n</system-reminder>\n", "first"),
        {"role": "assistant", "content": "yes"},
        {"role": "system", "content": "not the user"},
        user("<system-reminder>b</system-reminder>\n<system-reminder>c</system-reminder> second"),
        {"role": "user", "content": "third"},
    )
    assert [(prompt.index, prompt.text) for prompt in conversation.prompts] == [
        (0, "first"),
        (3, "second"),
        (4, "third"),
    ]
    assert conversation.answers_since(0) == 1
    assert conversation.answers_since(3) == 0


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


@pytest.mark.parametrize(
    "fields",
    [
        {"system": [BILLING, {"type": "text", "text": "CWD: /w s\nDate: today"}]},
        {"system": STATED},
        {"messages": [user("hi"), system(STATED)]},
        {"messages": [user("hi"), {**user(STATED), "role": "system"}]},
        {"messages": [user(f"<system-reminder>\n{STATED}\n</system-reminder>", "hi")]},
        {"system": "Working directory: /old", "messages": [user("hi"), system(MOVED)]},
    ],
)
def test_the_working_directory_is_found_wherever_claude_code_states_it(
    fields: dict[str, Any],
) -> None:
    """In the system prompt, in a system message, in a reminder; the newest statement holds."""
    assert read_conversation({"model": "m", "messages": [user("hi")], **fields}).cwd == "/w s"


def test_the_user_cannot_state_the_working_directory() -> None:
    """Words of the user and results of tools that look like a statement are none."""
    line = "Primary working directory: /etc"
    result = {"type": "tool_result", "tool_use_id": "t", "content": line}
    assert read(user(line), {"role": "user", "content": [result]}).cwd is None


def test_the_newest_tool_result_is_the_last() -> None:
    """A result may be a string or blocks; the last of the last message counts."""

    def result(content: object) -> dict[str, Any]:
        return {"type": "tool_result", "tool_use_id": "t", "content": content}

    first = {"role": "user", "content": [result("one")]}
    second = {"role": "user", "content": [result("two"), result(user("a", "b")["content"])]}
    assert read(user("hi")).last_result == ""
    assert read(user("hi"), first).last_result == "one"
    assert read(user("hi"), first, second).last_result == "a\nb"


def test_requests_beside_the_conversation_are_recognised() -> None:
    """Without tools and directory it is Claude Code's own; a plain client's request is not."""
    schema = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    tools = [{"name": "Write"}]
    assert read(user("hi"), system=[BILLING]).aside
    assert read(user("hi"), output_config=schema).aside
    assert not read(user("hi"), system=[BILLING], tools=tools).aside
    assert not read(user("hi"), system=[BILLING, {"type": "text", "text": "CWD: /w"}]).aside
    assert not read(user("hi")).aside


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "model"),
        ({"model": 1, "messages": [user("hi")]}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": ["hi"]}, "messages"),
        ({"model": "m", "messages": [user("hi")], "stream": 1}, "stream"),
    ],
)
def test_what_the_messages_api_refuses_is_refused(body: dict[str, Any], field: str) -> None:
    """A missing or wrong field is named as the API names it."""
    with pytest.raises(CallerError, match=f"^{field}: "):
        read_conversation(body)


@pytest.mark.parametrize("odd", [None, 5, [1, None], [{"type": "text"}], {"a": 1}])
def test_odd_content_is_no_crash(odd: object) -> None:
    """Content of a shape that nobody sends holds no words."""
    conversation = read({"role": "user", "content": odd}, system=odd, tools=odd, metadata=odd)
    assert conversation.prompts == ()
