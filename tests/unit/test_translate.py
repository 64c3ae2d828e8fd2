"""What a session tells of a run, from streams of the real runner and Claude Code (`recorded/`)."""

import base64
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from claude_run.errors import Code
from claude_run.events import ErrorEvent, MessageEvent, RunEvent, parse_event
from claude_run.prices import cost_usd
from claude_run.sse import Decoder
from claude_run.wire import Changes
from gateway.sessions.account import MAX_OPEN, Account
from gateway.sessions.bounds import MAX_VALUE_BYTES, size
from gateway.sessions.events import SessionEvent
from gateway.sessions.translate import TEXT_ABANDONED, Translator

RECORDED = Path(__file__).parent.parent / "recorded"
NAMES = sorted(path.stem for path in RECORDED.glob("*.sse"))
MODEL = "claude-opus-5-5"
COMMIT = "a" * 40


def recorded(name: str) -> Iterator[RunEvent]:
    """The events of a recorded run."""
    for event in Decoder().feed((RECORDED / f"{name}.sse").read_bytes()):
        yield parse_event(event.event, event.data)


class Told:
    """What a translator made of a run."""

    def __init__(self, run: Iterable[RunEvent], changes: Changes | None = None) -> None:
        self.translator = Translator(turn=3, changes=changes)
        self.events: list[SessionEvent] = []
        for event in run:
            self.events += self.translator.feed(event)

    def data(self, name: str) -> list[dict[str, Any]]:
        return [event.data for event in self.events if event.name == name]

    def names(self) -> list[str]:
        """The kinds of events in order, accounts left out."""
        return [event.name for event in self.events if event.name != "usage"]

    @property
    def text(self) -> str:
        return "".join(data["content"] for data in self.data("claude_delta"))


def message(**fields: Any) -> RunEvent:  # noqa: ANN401 - a line of Claude Code's
    return parse_event("message", json.dumps(fields))


def stream(event: dict[str, Any], **fields: object) -> RunEvent:
    return message(type="stream_event", event=event, **fields)


def start(name: str, **usage: int) -> RunEvent:
    return stream(
        {"type": "message_start", "message": {"id": name, "model": MODEL, "usage": usage}}
    )


def delta(text: str, **fields: object) -> RunEvent:
    part = {"type": "text_delta", "text": text}
    return stream({"type": "content_block_delta", "index": 0, "delta": part}, **fields)


def assistant(*blocks: dict[str, Any], name: str = "m", **fields: object) -> RunEvent:
    return message(type="assistant", message={"id": name, "content": list(blocks)}, **fields)


def result(**fields: object) -> RunEvent:
    return message(type="result", subtype="success", is_error=False, **fields)


def used(cost: float, *, tokens_in: int = 0, written: int = 0, tokens_out: int = 0) -> object:
    return {
        MODEL: {
            "inputTokens": tokens_in,
            "cacheCreationInputTokens": written,
            "cacheReadInputTokens": 1_000_000,
            "outputTokens": tokens_out,
            "costUSD": cost,
        }
    }


def changes(base: str | None, *, new: Sequence[str] | None = None, **files: str | None) -> Changes:
    """A change set: by name the text written, None for a deleted file; without a base all new."""
    return Changes.model_validate(
        {
            "base": base,
            "files": [
                {"path": path, "deleted": True}
                if text is None
                else {
                    "path": path,
                    "mode": "100644",
                    "content": base64.b64encode(text.encode()).decode(),
                }
                | ({"new": True} if (base is None if new is None else path in new) else {})
                for path, text in files.items()
            ],
        }
    )


def change_event(value: Changes) -> RunEvent:
    body = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return parse_event("changes", json.dumps({"base": None, **body}))


# --- real runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("text", "Hello there, reader."),
        ("thinking", "It is this."),
        ("tools", "Writing.Done."),
        ("subagent", "Asking.It said so.It is there."),
        ("retry", "After all."),
        ("cut_behind_text", "First words.The end."),
        ("unstreamed", "The whole answer, not streamed."),
        ("conversation-1", "Noted."),
        ("conversation-3", "Noted."),
        ("odd", "CR\rLF\nLS\u2028NUL\0BOM\ufeff end"),
    ],
)
def test_text_arrives_exactly_once(name: str, text: str) -> None:
    """In deltas where it was streamed, whole where it was not; a subagent's and thinking never."""
    told = Told(recorded(name))
    assert told.text == text
    assert told.translator.succeeded
    assert text.endswith(told.translator.result_text)


def test_text_comes_in_the_pieces_that_were_made() -> None:
    """Not only once the answer is whole."""
    pieces = [data["content"] for data in Told(recorded("text")).data("claude_delta")]
    assert pieces == ["Hello ", "there,", " reade", "r."]


@pytest.mark.parametrize("name", ["cut", "unstreamed_after_part"])
def test_text_that_was_taken_back_is_said_to_be(name: str) -> None:
    """It cannot be unsent; a status stands between it and the answer made anew."""
    told = Told(recorded(name))
    [at] = [
        number
        for number, event in enumerate(told.events)
        if event.data.get("code") == TEXT_ABANDONED
    ]
    before = "".join(e.data.get("content", "") for e in told.events[:at])
    after = "".join(e.data.get("content", "") for e in told.events[at:])
    assert (before, after) == ("The w", "The whole answer, once only.")
    assert told.translator.result_text == after


def test_finished_text_is_not_taken_back() -> None:
    """An answer that breaks off behind it goes on from there."""
    told = Told(recorded("cut_behind_text"))
    assert told.data("status") == []


def test_tools_and_their_results() -> None:
    """Input as a structure, failure told as such, a picture as what it is."""
    told = Told(recorded("tools"))
    write, shell, _, read = told.data("tool_use")
    assert (write["turn"], write["name"], write["input"]["content"]) == (3, "Write", "a\n")
    assert (shell["name"], shell["input"]) == ("Bash", {"command": "cat a.txt; exit 3"})
    results = {data["id"]: data for data in told.data("tool_result")}
    assert results.keys() == {data["id"] for data in told.data("tool_use")}
    assert results[write["id"]]["isError"] is False
    assert (results[shell["id"]]["isError"], results[shell["id"]]["content"]) == (
        True,
        "Exit code 3\na",
    )
    assert results[read["id"]]["content"] == "[image: image/png]"
    assert told.names()[:3] == ["claude_delta", "tool_use", "tool_result"]


def test_a_subagents_tools_are_told_and_its_words_are_not() -> None:
    """What it does is the user's business; what it says is for Claude."""
    told = Told(recorded("subagent"))
    assert [data["name"] for data in told.data("tool_use")] == ["Task", "Bash"]
    assert told.data("tool_result")[1]["content"] == "inside"
    assert "The subagent says it." not in told.text


def test_files_are_told_with_their_folder() -> None:
    """From the run's change set, and its first line."""
    [told] = Told(recorded("max_turns")).data("file_change")
    assert told["message"] == "2 files changed"
    assert told["workspaceDir"].startswith("/tmp/ws-")
    assert told["files"] == [
        {"path": "0.txt", "status": "added"},
        {"path": "1.txt", "status": "added"},
    ]
    assert Told(recorded("text")).data("file_change") == []


def test_a_retry_is_told() -> None:
    """Claude Code waits and asks again: the caller sees why nothing comes."""
    [status] = Told(recorded("retry")).data("status")
    assert status["code"] == Code.UPSTREAM_OVERLOADED
    assert "529" in status["message"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("refused", Code.UPSTREAM_AUTH),
        ("budget", Code.BUDGET_EXCEEDED),
        ("max_turns", Code.MAX_TURNS),
    ],
)
def test_a_failure_is_remembered(name: str, code: Code) -> None:
    """The driver tells it, last; the translator keeps it."""
    told = Told(recorded(name))
    assert told.translator.error is not None
    assert told.translator.error.code == code
    assert not told.translator.succeeded
    assert "error" not in told.names()


def test_claude_codes_own_words_about_a_failure_are_no_answer() -> None:
    """They look like a message of the model; they are a status with the code of the cause."""
    told = Told(recorded("refused"))
    assert told.text == ""
    [status] = told.data("status")
    assert status == {
        "message": "Invalid API key · Fix external API key",
        "code": Code.UPSTREAM_AUTH,
    }


# --- accounts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("text", {"inputTokens": 130, "outputTokens": 12, "costUsd": 0.00186}),
        ("tools", {"inputTokens": 16_258, "outputTokens": 125, "costUsd": 0.068632}),
        # Here Claude Code's own count is the larger one: it knows the subagent's answers.
        ("subagent", {"inputTokens": 18_650, "outputTokens": 32, "costUsd": 0.07634}),
        # …and here the stream's: the answer that broke off has been paid for.
        ("unstreamed_after_part", {"inputTokens": 20_286, "outputTokens": 9, "costUsd": 0.040732}),
        ("budget", {"inputTokens": 1_000_000, "outputTokens": 10_000, "costUsd": 4.2}),
        ("refused", {"inputTokens": 0, "outputTokens": 0, "costUsd": 0.0}),
    ],
)
def test_usage_is_exact_at_the_end(name: str, usage: dict[str, Any]) -> None:
    """Cache writes are input, cache reads are not; the cost is Claude Code's."""
    told = Told(recorded(name))
    assert told.translator.usage == usage
    assert told.translator.tokens_so_far == usage["inputTokens"] + usage["outputTokens"]
    last = told.data("usage")[-1:]
    assert last == ([{"turn": 3, **usage}] if any(usage.values()) else [])


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_turn_counts_itself_alone(number: int) -> None:
    """`total_cost_usd` of a resumed conversation is the sum of its turns; each costs the same."""
    told = Told(recorded(f"conversation-{number}"))
    assert told.translator.result is not None
    assert told.translator.result["total_cost_usd"] == pytest.approx(number * 0.00186)
    assert told.translator.usage == {"inputTokens": 130, "outputTokens": 12, "costUsd": 0.00186}


@pytest.mark.parametrize("name", NAMES)
def test_usage_is_told_when_it_changes_and_tokens_only_grow(name: str) -> None:
    """Each event says something new; before the end the cost is an estimate from above."""
    told = [
        (data["inputTokens"], data["outputTokens"], data["costUsd"])
        for data in Told(recorded(name)).data("usage")
    ]
    assert len(set(told)) == len(told)
    assert [row[0] for row in told] == sorted(row[0] for row in told)
    assert [row[1] for row in told] == sorted(row[1] for row in told)
    if told:
        assert max(row[2] for row in told) >= told[-1][2]


@pytest.mark.parametrize("name", ["tools", "subagent", "budget", "cut"])
def test_a_run_that_is_killed_has_cost_at_least_what_it_did(name: str) -> None:
    """Without its result line: else stopping a run just before its end would make it free."""
    whole = Told(recorded(name)).translator.usage["costUsd"]
    killed = Told(
        event
        for event in recorded(name)
        if not (isinstance(event, MessageEvent) and event.data["type"] == "result")
    )
    assert whole <= killed.translator.usage["costUsd"] <= 2 * whole
    assert not killed.translator.succeeded


def test_tokens_are_known_while_the_run_goes_on() -> None:
    """For whoever stops it: after each answer, not only at the end."""
    told = Told([start("m", input_tokens=100, cache_read_input_tokens=9_000, output_tokens=1)])
    assert told.translator.tokens_so_far == 101
    figures = {"input_tokens": 100, "output_tokens": 50}
    told.events += told.translator.feed(stream({"type": "message_delta", "usage": figures}))
    assert told.translator.tokens_so_far == 150
    # The complete message comes with the figures of the beginning; nothing is taken back.
    late = message(
        type="assistant",
        message={"id": "m", "model": MODEL, "content": [], "usage": {"output_tokens": 1}},
    )
    assert told.translator.feed(late) == []
    assert told.translator.tokens_so_far == 150


def test_several_results_are_summed() -> None:
    """A run with background agents ends in parts, each with what came since the last."""
    told = Told(
        [
            start("m", input_tokens=10),
            result(result="one", model_usage_since_last_result=used(0.5, tokens_in=10)),
            start("n", input_tokens=5),
            result(
                result="two",
                model_usage_since_last_result=used(0.25, tokens_in=4, written=1, tokens_out=7),
            ),
        ]
    )
    assert told.translator.usage == {"inputTokens": 15, "outputTokens": 7, "costUsd": 0.75}
    assert told.translator.result_text == "two"


def test_between_two_results_the_cost_is_known_and_estimated() -> None:
    """What was told, and what came since at list price."""
    told = Told(
        [
            start("m", input_tokens=10),
            result(model_usage_since_last_result=used(0.5, tokens_in=10)),
            start("n", input_tokens=1_000_000),
        ]
    )
    expected = 0.5 + cost_usd(MODEL, {"input_tokens": 1_000_000})
    assert told.translator.usage["costUsd"] == pytest.approx(expected)


def test_an_older_claude_codes_total_is_taken_rather_than_nothing() -> None:
    """It may count earlier turns again: too much is the safe side."""
    told = Told([start("m", input_tokens=10), result(total_cost_usd=0.5)])
    assert told.translator.usage["costUsd"] == 0.5


def test_nonsense_is_no_number() -> None:
    """Neither infinite nor negative nor of another kind; the rest still counts."""
    account = Account()
    usage: dict[str, Any] = {"input_tokens": -5, "output_tokens": "7"}
    account.answer("m", MODEL, usage)
    for cost in (math.inf, math.nan, -1, "1", None):
        account.result({"model_usage_since_last_result": {MODEL: {"costUSD": cost}}})
        account.result({"total_cost_usd": cost})
    account.result({"model_usage_since_last_result": {MODEL: None}})
    account.result({})
    assert account.to_json() == {"inputTokens": 0, "outputTokens": 0, "costUsd": 0.0}


def test_the_account_keeps_only_answers_under_way() -> None:
    """Any number of them is counted; the old ones are forgotten, their sums are not."""
    account = Account()
    for number in range(10 * MAX_OPEN):
        account.answer(f"m{number}", MODEL, {"input_tokens": 1})
        account.answer(f"m{number}", MODEL, {"input_tokens": 1, "output_tokens": 1})
    assert (account.input_tokens, account.output_tokens) == (10 * MAX_OPEN, 10 * MAX_OPEN)
    assert len(account._answers) == MAX_OPEN


@pytest.mark.parametrize(
    ("model", "dollars"),
    [
        ("claude-haiku-4-5", 1.0),
        ("claude-sonnet-4-5-20250929", 3.0),
        ("claude-opus-5-5", 5.0),
        ("claude-opus-4-1", 15.0),
        ("claude-opus-4-20250514", 15.0),
        ("claude-3-opus-20240229", 15.0),
        ("something-new", 15.0),
    ],
)
def test_prices_go_by_the_name(model: str, dollars: float) -> None:
    """An unknown model is taken for a dear one."""
    assert cost_usd(model, {"input_tokens": 1_000_000}) == dollars
    assert cost_usd(model, {"output_tokens": 1_000_000}) == 5 * dollars
    assert cost_usd(model, {"cache_read_input_tokens": 1_000_000}) == pytest.approx(dollars / 10)
    assert cost_usd(model, {"cache_creation_input_tokens": 1_000_000}) == 2 * dollars


# --- files ---------------------------------------------------------------------------------------


def listed(told: Told) -> list[list[tuple[str, str]]]:
    return [
        [(file["path"], file["status"]) for file in data["files"]]
        for data in told.data("file_change")
    ]


def test_each_change_is_told_once() -> None:
    """Of every checkpoint what is another than before; one like the last says nothing."""
    told = Told(
        map(
            change_event,
            [
                changes(None),
                changes(None, a="1"),
                changes(None, a="1"),
                changes(None, a="2", b="1"),
                changes(None, b="1"),
            ],
        )
    )
    assert listed(told) == [
        [("a", "added")],
        [("a", "modified"), ("b", "added")],
        [("a", "deleted")],
    ]
    assert [data["message"] for data in told.data("file_change")] == [
        "1 file changed",
        "2 files changed",
        "1 file changed",
    ]


def test_against_a_commit_new_files_are_told_from_written_ones() -> None:
    """What the commit has not is added, and deleted when it goes; the rest goes back to it."""
    told = Told(
        map(
            change_event,
            [
                changes(COMMIT, a="1", b=None, new=("a",)),
                changes(COMMIT, a="1", c="1", new=("a",)),
                changes(COMMIT),
            ],
        )
    )
    assert listed(told) == [
        [("a", "added"), ("b", "deleted")],
        [("c", "modified"), ("b", "modified")],
        [("a", "deleted"), ("c", "modified")],
    ]


def test_a_later_turn_tells_only_its_own_changes() -> None:
    """It begins with those of the turns before."""
    before = changes(COMMIT, a="1")
    assert listed(Told([change_event(before)], before)) == []
    assert listed(Told([change_event(changes(COMMIT, a="1", b="2"))], before)) == [
        [("b", "modified")]
    ]


def test_a_name_that_is_not_utf8_is_shown() -> None:
    """Its bytes as escapes: an event is text."""
    name = base64.b64encode(b"caf\xe9").decode()
    event = parse_event(
        "changes",
        json.dumps({"base": None, "files": [{"pathBase64": name, "deleted": True}]}),
    )
    assert listed(Told([event])) == [[("caf\\xe9", "deleted")]]


# --- what may come -------------------------------------------------------------------------------


def test_a_line_of_ten_megabytes_arrives_cut() -> None:
    """A tool's result of that size is one event of 64 KiB that says so."""
    block = {"type": "tool_result", "tool_use_id": "t", "content": "x" * 10_000_000}
    line = message(type="user", message={"content": [block]})
    [event] = Told([line]).events
    assert event.data["truncated"] is True
    assert size(event.data["content"]) == MAX_VALUE_BYTES


def test_a_delta_of_ten_megabytes_arrives_whole() -> None:
    """Text is split."""
    text = "0123456789" * 1_000_000
    assert Told([start("m"), delta(text)]).text == text


def test_a_subagents_deltas_are_not_the_answer() -> None:
    """Should they ever be streamed, they have a parent."""
    told = Told(
        [
            start("m"),
            delta("mine"),
            delta("not mine", parent_tool_use_id="t"),
            assistant({"type": "text", "text": "not mine"}, name="s", parent_tool_use_id="t"),
        ]
    )
    assert told.text == "mine"


def test_tool_results_of_every_form_are_text() -> None:
    """A string, blocks joined, what is no text by its kind; nothing where there is nothing."""
    forms: list[object] = [
        "plain",
        [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}],
        [{"type": "tool_reference", "tool_name": "x"}, 7],
        None,
    ]
    blocks = [{"type": "tool_result", "tool_use_id": "t", "content": form} for form in forms]
    told = Told([message(type="user", message={"content": blocks})])
    assert [data["content"] for data in told.data("tool_result")] == [
        "plain",
        "a\nb",
        "[image: image/png]",
        "[tool_reference]\n",
        "",
    ]


def test_warnings_are_statuses() -> None:
    """With their code, so that clients can branch."""
    warning = parse_event("warning", '{"code":"UNKNOWN_TOOL","message":"No tool named LS."}')
    assert Told([warning]).data("status") == [
        {"message": "No tool named LS.", "code": "UNKNOWN_TOOL"}
    ]


NONSENSE: list[Any] = [None, 7, "x", [], [7], {}, {"type": 7}, {"content": "x"}, {"content": [7]}]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_what_is_not_understood_passes_by(nonsense: object) -> None:
    """Kinds of a newer Claude Code, and known kinds with other insides: nothing, no exception."""
    run = [
        message(type=nonsense),
        message(type="of_the_future", event=nonsense),
        message(type="system", subtype=nonsense),
        message(type="system", subtype="init", cwd=nonsense),
        message(type="stream_event", event=nonsense),
        stream({"type": "message_start", "message": nonsense}),
        stream({"type": "message_start", "message": {"id": "m", "usage": nonsense}}),
        stream({"type": "message_delta", "usage": nonsense}),
        stream({"type": "message_stop"}, abandoned_blocks=nonsense),
        stream({"type": "content_block_delta", "delta": nonsense}),
        stream({"type": "content_block_delta", "delta": {"type": "text_delta", "text": []}}),
        message(type="assistant", message=nonsense),
        assistant({"type": nonsense}, {"type": "text", "text": []}),
        assistant({"type": "tool_use", "id": [], "name": "x", "input": {}}),
        message(type="user", message=nonsense),
        message(type="user", message={"content": [nonsense]}),
        parse_event("of_the_future", "anything"),
        message(type="result", result=nonsense, model_usage_since_last_result=nonsense),
    ]
    told = Told(run)
    assert told.events == []
    assert not told.translator.succeeded
    assert told.translator.usage == {"inputTokens": 0, "outputTokens": 0, "costUsd": 0.0}
    assert told.translator.result_text == (nonsense if isinstance(nonsense, str) else "")


def test_a_run_that_failed_and_says_success_has_failed() -> None:
    """The runner's error counts, and so does the result's own flag."""
    assert not Told([message(type="result", subtype="success", is_error=True)]).translator.succeeded
    failed = ErrorEvent(error="x", code="TIMEOUT", details={})
    assert not Told([result(), failed]).translator.succeeded
    assert Told([result()]).translator.succeeded
