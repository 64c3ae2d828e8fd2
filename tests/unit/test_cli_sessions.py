"""What is shown of sessions and of a gateway, and the orders for both."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from claude_run import cli
from claude_run.cli import arguments, session_text
from claude_run.cli.complaint import OF_SESSION, complaint
from claude_run.cli.lines import session_line
from claude_run.cli.run import Order
from claude_run.cli.session_show import SessionShow
from claude_run.cli.style import Style
from claude_run.errors import Code, error_for
from claude_run.session_events import SessionEvent, parse_session_event
from claude_run.session_status import parse_status
from claude_run.sse import ServerSentEvent

PLAIN = Style()
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
WORKSPACE = "/tmp/ws-0b1c2d3e-0000-4000-8000-00000000000a"


def event(event: str, number: int = 1, /, **data: object) -> SessionEvent:
    return parse_session_event(ServerSentEvent(event=event, data=json.dumps(data), id=str(number)))


def shown(*events: SessionEvent, prompts: bool = False) -> str:
    show = SessionShow(style=PLAIN, prompts=prompts)
    return "".join(map(show.feed, events))


# --- a session that is followed -------------------------------------------------------------------


def test_a_turn_is_words_then_tools_then_a_receipt() -> None:
    """As of a run; paths without the workspace, files with what became of them."""
    show = SessionShow(style=PLAIN)
    events = [
        event("connected", message="Connected", sessionId="s"),
        event("claude_start", turn=1, prompt="Hi"),
        event("claude_delta", turn=1, content="Hel"),
        event("claude_delta", turn=1, content="lo"),
        event("tool_use", turn=1, id="t", name="Write", input={"file_path": f"{WORKSPACE}/a.txt"}),
        event("tool_result", turn=1, id="t", isError=True, content="no\nspace"),
        event("usage", turn=1, inputTokens=3, outputTokens=4, costUsd=0.1),
        event("usage", turn=1, inputTokens=30, outputTokens=40, costUsd=0.25),
        event("claude_delta", turn=1, content="Done."),
        event(
            "file_change",
            message="m",
            workspaceDir=WORKSPACE,
            files=[
                {"path": "a.txt", "status": "added"},
                {"path": "b.txt", "status": "modified"},
                {"path": "c.txt", "status": "deleted"},
            ],
        ),
        event("file_change", message="m", files=[{"path": "c.txt", "status": "added"}]),
        event("claude_end", turn=1),
        event("complete", sessionId="s", turns=1, agentTurns=3, result="Done.", usage={}),
    ]
    assert "".join(map(show.feed, events)) == ("Hello\n  ▸ Write a.txt\n    ✗ no space\nDone.\n")
    assert show.receipt(1.0) == (
        "\n3 turns · 30 tokens in, 40 out · $0.2500 · 1.0 s\n"
        "3 files changed:\n  + a.txt\n  ~ b.txt\n  + c.txt\n"
    )
    assert show.error is None


def test_what_is_waited_for_is_said() -> None:
    """Where the line is free."""
    show = SessionShow(style=PLAIN, cloning="octo/hello")
    said = [show.waiting_for]
    for one in (
        event("claude_start", turn=1, prompt="Hi"),
        event("status", message="Waiting for a free runner"),
        event("claude_delta", turn=1, content="Hm"),
        event("tool_use", turn=1, id="t", name="Bash", input={"command": "ls"}),
        event("tool_result", turn=1, id="t", isError=False, content=""),
        event("claude_end", turn=1),
    ):
        show.feed(one)
        said.append(show.waiting_for)
    assert said == [
        "cloning octo/hello", "waiting for the model", "Waiting for a free runner", None,
        "running Bash", "waiting for the model", "collecting the files",
    ]  # fmt: skip


def test_a_reader_who_did_not_ask_sees_what_was_asked() -> None:
    """Each turn's prompt, before its words."""
    turns = [
        event("claude_start", turn=1, prompt="One\nline"),
        event("claude_delta", turn=1, content="1"),
        event("claude_start", turn=2, prompt="Two"),
        event("claude_delta", turn=2, content="2"),
    ]
    assert shown(*turns, prompts=True) == "> One line\n\n1\n\n> Two\n\n2"
    assert shown(*turns) == "12"


def test_what_went_wrong_and_what_to_know_are_lines() -> None:
    """A code is a notice; a pull request is named; an input that was cut is a tool all the same."""
    told = shown(
        event("claude_delta", turn=1, content="a"),
        event("status", message="No such tool", code="UNKNOWN_TOOL"),
        event("tool_use", turn=1, id="t", name="Write", input='{"file_path": "a', truncated=True),
        event("status", message="", prUrl="https://github.test/pull/1"),
        event("claude_delta", turn=1, content="b"),
        event("error", message="Out of turns", code="MAX_TURNS"),
        event("news", x=1),
    )
    assert told == (
        "a\n! No such tool (UNKNOWN_TOOL)\n  ▸ Write\nPull request: https://github.test/pull/1\nb\n"
    )


def test_nothing_of_a_session_controls_the_terminal() -> None:
    """Words, names, prompts, files, links."""
    attack = "\x1b]0;owned\x07\x9b2J\u202e"
    show = SessionShow(style=PLAIN, prompts=True)
    told = "".join(
        map(
            show.feed,
            [
                event("claude_start", turn=1, prompt=attack),
                event("claude_delta", turn=1, content=attack),
                event("tool_use", turn=1, id="t", name=attack, input={"command": attack}),
                event("tool_result", turn=1, id="t", isError=True, content=attack),
                event("status", message=attack, code=attack),
                event("status", message="", prUrl=attack),
                event("file_change", message=attack, files=[{"path": attack, "status": attack}]),
                event("complete", sessionId=attack, turns=1, prUrl=attack),
            ],
        )
    )
    told += show.receipt(None)
    assert not set(told) & {"\x1b", "\x07", "\x9b", "\u202e"}


def test_a_line_for_programs_has_the_place_in_the_log() -> None:
    """ASCII; the data as the gateway sent it, also of an event that is not known."""
    line = session_line(event("claude_delta", 7, turn=1, content="日\u2028"))
    assert line.isascii()
    assert json.loads(line) == {
        "event": "claude_delta",
        "id": 7,
        "data": {"turn": 1, "content": "日\u2028"},
    }
    strange = parse_session_event(ServerSentEvent(event="news", data="no json", id="8"))
    assert json.loads(session_line(strange)) == {"event": "news", "id": 8, "data": "no json"}


# --- looked at ------------------------------------------------------------------------------------


def record(**fields: object) -> dict[str, Any]:
    return {"sessionId": "s-1", "status": "completed", "currentTurn": 2, **fields}


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def test_a_table_is_one_line_a_session() -> None:
    """What one looks for: which, how, when, on what."""
    sessions = [
        parse_status(
            record(lastActivityAt=ms(NOW - timedelta(hours=3)), repository={"name": "octo/hello"})
        ),
        parse_status(record(sessionId="longer-1", status="processing", currentTurn=1)),
    ]
    assert session_text.table(sessions, now=NOW, style=PLAIN) == (
        "s-1       completed   2 turns   3 hours ago     octo/hello\nlonger-1  processing  1 turn\n"
    )
    assert session_text.table([], now=NOW, style=PLAIN) == "no sessions\n"


def test_a_card_is_all_that_is_known() -> None:
    """And nothing that is not."""
    usage = {"inputTokens": 10, "outputTokens": 2, "costUsd": 0.5}
    one = parse_status(
        record(
            status="error",
            createdAt=ms(NOW - timedelta(seconds=90)),
            completedAt=ms(NOW),
            errorMessage="It broke\x1b[2J",
            usage=usage,
        )
    )
    assert session_text.card(one, now=NOW, style=PLAIN) == (
        "session     s-1\n"
        "status      error\n"
        "turns       2\n"
        "started     2026-11-22 11:58:30 UTC, 1 minute ago\n"
        "ended       2026-11-22 12:00:00 UTC, just now\n"
        "used        10 tokens in, 2 out · $0.5000\n"
        "error       It broke␛[2J\n"
    )


def test_health_is_a_few_lines() -> None:
    """Of a gateway each part and the day's quota, of a runner one word."""
    said = {
        "status": "degraded",
        "version": "0.1.0",
        "components": {
            "durableObjects": {"status": "operational"},
            "containers": {"status": "down", "message": "no\x1banswer"},
            "odd": 3,
        },
        "quota": {
            "dailyTokens": 50_000, "maxDailyTokens": 1_000_000, "dailyCost": 2.5,
            "maxDailyCost": 50, "activeSessions": 1, "maxConcurrentSessions": 5,
        },
    }  # fmt: skip
    assert session_text.health(said, style=PLAIN) == (
        "degraded · version 0.1.0\n"
        "  store       operational\n"
        "  runner      down            no␛answer\n"
        "today: 50,000 of 1,000,000 tokens · $2.50 of $50.00 · 1 of 5 sessions running\n"
    )
    assert session_text.health({"status": "ok"}, style=PLAIN) == "ok\n"
    assert session_text.is_well(said)
    assert not session_text.is_well({"status": "unhealthy"})


def test_colours_tell_good_from_bad() -> None:
    """Green, yellow, red."""
    style = Style(colour=True)
    for status, colour in (("completed", "32"), ("processing", "33"), ("error", "31")):
        assert f"\x1b[{colour}m{status}" in session_text.card(
            parse_status(record(status=status)), now=NOW, style=style
        )


# --- what is typed --------------------------------------------------------------------------------


def order(*argv: str, **environ: str) -> Order:
    typed = arguments.parser().parse_args(argv)
    return arguments.order(typed, environ, io.BytesIO())


def test_a_start_is_an_order_with_options() -> None:
    """Those that a session has; what is not typed is left to the gateway."""
    assert order("start", "Hi").options == {}
    made = order(
        "start", "Hi", "--session-id", "mine", "--repo", "octo/hello", "--create-pr", "--detach",
        "--max-turns", "3", "--model", "m", CLAUDE_RUN_GITHUB_TOKEN="ghs_12345678",
    )  # fmt: skip
    assert made.options == {
        "session_id": "mine",
        "repository": {"name": "octo/hello"},
        "create_pr": True,
        "detach": True,
        "max_turns": 3,
        "model": "m",
        "github_token": "ghs_12345678",
    }


def test_a_message_brings_the_environments_secrets() -> None:
    """The session has its repository already."""
    made = order(
        "send", "s", "More", "--max-turns", "2",
        CLAUDE_RUN_GITHUB_TOKEN="ghs_12345678", CLAUDE_RUN_ANTHROPIC_API_KEY="sk-12345678",
    )  # fmt: skip
    assert made.options == {
        "max_turns": 2,
        "github_token": "ghs_12345678",
        "anthropic_api_key": "sk-12345678",
    }


@pytest.mark.parametrize(
    "argv",
    [
        ["start"],
        ["send", "s"],
        ["tail"],
        ["tail", "s", "--after", "x"],
        ["tail", "s", "--after", "-1"],
        ["start", "x", "--mcp-config", "f"],
        ["show"],
        ["sessions", "--limit", "many"],
    ],
)
def test_wrong_usage_is_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Said on standard error."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(argv)
    assert stopped.value.code == 2
    assert "usage: claude-run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["start", "x", "--session-id", "status"], "--session-id: "),
        (["start", "x", "--max-turns", "0"], "--max-turns: "),
        (["start", "x", "--repo", "no repo"], "--repo: "),
        (["start", "x", "--create-pr"], "--create-pr needs --repo"),
        (["start", "  "], "PROMPT: must not be blank"),
        (["show", "a/b"], "ID: "),
        (["status", "--base-url", "http://example.com"], "The base URL must be https"),
    ],
)
def test_what_is_refused_here_names_the_option(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a server; status 2."""
    assert cli.main(argv) == 2
    assert capsys.readouterr().err.startswith(f"claude-run: {said}")


def test_advice_is_a_sessions() -> None:
    """What helps with a run does not help with a session."""
    lost = error_for(Code.INTERRUPTED, "Its driver is gone.")
    assert "is lost" in complaint(lost)
    assert "claude-run send ID" in complaint(lost, advice=OF_SESSION)
