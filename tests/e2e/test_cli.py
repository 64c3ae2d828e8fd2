"""`claude-run run` as its user has it: the program, a real runner, the real Claude Code."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import servers
from claude_run import __version__
from doubles.git_server import serve_git
from programs import CLAUDE_RUN, claude_run, environment, running
from servers import say, scenario, use

pytestmark = pytest.mark.e2e

WRITE = use("Write", file_path="{{cwd}}/a.txt", content="hello\n")
SLOW = scenario(say("word " * 400, chunk_size=5, delay_ms=100))


def test_a_run_is_words_then_tools_then_a_receipt(runner: servers.Server) -> None:
    """Piped: exactly what there is to read, and not one escape code."""
    done = claude_run("run", scenario(WRITE, say("All done.")), CLAUDE_RUN_URL=runner.url)
    assert done.returncode == 0
    assert done.stderr == ""
    words, _, receipt = done.stdout.partition("\n\n")
    assert words == "  ▸ Write a.txt\nAll done."
    figures, files = receipt.split("\n", 1)
    assert figures.startswith("2 turns · ")
    assert " tokens in, " in figures
    assert " · $0." in figures
    assert figures.endswith(" s")
    assert files == "1 file changed:\n  + a.txt\n"
    assert "\x1b" not in done.stdout


def test_json_is_one_line_for_each_event(runner: servers.Server) -> None:
    """Every event of the stream in order, and nothing else on standard output."""
    done = claude_run("run", scenario(WRITE, say("Yes.")), "--json", "--base-url", runner.url)
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {tuple(event) for event in events} == {("event", "data")}
    assert events[0]["data"]["subtype"] == "init"
    assert events[-2]["event"] == "changes"
    assert events[-2]["data"]["files"][0]["path"] == "a.txt"
    assert events[-1] == {"event": "done", "data": "[DONE]"}


def test_options_reach_the_run(runner: servers.Server, tmp_path: Path) -> None:
    """A repository is cloned; the tools named run unasked; the prompt comes from a pipe."""
    with serve_git(tmp_path / "server") as server:
        origin = server.create("octo/hello")
        origin.write("old.txt", "old\n")
        origin.write("kept.txt", "1\n")
        origin.commit("First")
        change = use("Bash", command="rm old.txt; echo 2 >> kept.txt; echo new > new.txt")
        done = claude_run(
            "run", "-", "--repo", server.url("octo/hello"), "--allowed-tools", "Bash",
            "--max-turns", "2", "--base-url", runner.url, stdin=scenario(change, say("Changed.")),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("3 files changed:\n  ~ kept.txt\n  + new.txt\n  - old.txt\n")


def test_a_run_that_fails_says_what_and_what_to_do(runner: servers.Server) -> None:
    """Status 1; what was shown stays shown, and the receipt too."""
    done = claude_run(
        "run", scenario(WRITE, say("x")), "--max-turns", "1", CLAUDE_RUN_URL=runner.url
    )
    assert done.returncode == 1
    assert "▸ Write a.txt" in done.stdout
    assert "+ a.txt" in done.stdout
    assert "(MAX_TURNS)\n  Allow more with --max-turns.\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_run_in_json_is_told_on_both(runner: servers.Server) -> None:
    """As an event for the program, as a sentence for whoever looks."""
    error = {"error": {"status": 401}, "blocks": []}
    done = claude_run("run", scenario(error), "--json", CLAUDE_RUN_URL=runner.url)
    assert done.returncode == 1
    codes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["data"]["code"] for event in codes if event["event"] == "error"] == [
        "UPSTREAM_AUTH"
    ]
    assert "(UPSTREAM_AUTH)" in done.stderr


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["x", "--max-turns", "0"], 2, "--max-turns: "),
        (["   "], 2, "PROMPT: must not be blank"),
        (["x", "--base-url", "http://example.com"], 2, "must be https"),
        (["x", "--repo", "a/b", "--branch", ".x"], 2, "--branch: "),
        (["x", "--model"], 2, "usage:"),
        (["x", "--base-url", "http://127.0.0.1:9"], 1, "make dev"),
        (["x", "--repo", "https://example.com/a/b"], 1, "repository.url"),
    ],
)
def test_what_cannot_run_is_told_in_words(
    runner: servers.Server, argv: list[str], status: int, said: str
) -> None:
    """2 where the command line is wrong, 1 where the server says no; never a traceback."""
    done = claude_run("run", *argv, CLAUDE_RUN_URL=runner.url)
    assert done.returncode == status
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_what_the_model_prints_does_not_reach_the_terminal(runner: servers.Server) -> None:
    """Escape sequences in words and in a tool's output are shown as pictures."""
    attack = "\x1b]0;owned\x07\x9b2J"
    fail = use("Bash", command=f"echo '{attack}' >&2; false")
    done = claude_run(
        "run", scenario(say(f"a{attack}b"), say("x")), "--base-url", runner.url, TERM="xterm"
    )
    assert "a␛]0;owned␇\ufffd2Jb" in done.stdout
    shown = claude_run(
        "run", scenario(fail, say("x")), "--allowed-tools", "Bash", "--base-url", runner.url
    ).stdout
    assert "✗" in shown
    assert not set(done.stdout + shown) & {"\x1b", "\x07", "\x9b"}


def test_ctrl_c_ends_the_run(runner: servers.Server) -> None:
    """Status 130 at once, and no process of the run is left (the fixture looks)."""
    with running("run", SLOW, "--base-url", runner.url) as program:
        program.until("word word")
        status, seconds = program.end(signal.SIGINT)
    assert status == 130
    assert seconds < 5
    assert "stopped; the run is ended" in program.text
    assert "Traceback" not in program.text


def test_a_reader_that_leaves_ends_the_run(runner: servers.Server) -> None:
    """`| head` closes the pipe: no traceback, and nothing runs on."""
    process = subprocess.Popen(
        [CLAUDE_RUN, "run", SLOW, "--base-url", runner.url],
        env=environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4) == b"word"
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr.read() == b""


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal."""
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def on_terminal(terminal: tuple[int, int], *argv: str, **environ: str) -> str:
    """Everything that `claude-run` writes to a terminal."""
    ours, theirs = terminal
    with subprocess.Popen(
        [CLAUDE_RUN, *argv],
        env=environment({"TERM": "xterm", "COLUMNS": "60"} | environ),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ):
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
        except OSError:  # EIO: the other end is closed
            pass
    return seen.decode()


def test_a_terminal_sees_what_is_waited_for(
    runner: servers.Server, terminal: tuple[int, int]
) -> None:
    """A live line while nothing else is there to see, gone before the next words; colours."""
    slow = use("Bash", command="sleep 1")
    seen = on_terminal(
        terminal, "run", scenario(slow, say("Done.")), "--allowed-tools", "Bash",
        "--base-url", runner.url,
    )  # fmt: skip
    clear = "\r\x1b[2K"
    assert f"{clear}\x1b[2m" in seen
    assert " starting · 0 s" in seen
    assert " running Bash · " in seen
    # What was drawn is cleared: no live line is followed by words on the same line.
    assert f"{clear}Done." in seen or "\nDone." in seen
    lines = [piece.rpartition(clear)[2] for piece in seen.split("\r\n")]
    assert [line for line in lines if " · " in line and "starting" in line] == []
    assert "\x1b[2m  ▸ Bash sleep 1\x1b[0m" in lines
    assert "\x1b[2mno files changed\x1b[0m" in lines


def test_no_color_means_no_colour(runner: servers.Server, terminal: tuple[int, int]) -> None:
    """The live line is there, but nothing has a colour."""
    seen = on_terminal(
        terminal, "run", scenario(WRITE, say("x")), "--base-url", runner.url, NO_COLOR="1"
    )
    assert "  + a.txt" in seen
    assert "starting" in seen
    assert "\x1b" not in seen.replace("\x1b[2K", "")


def test_the_version_is_the_packages() -> None:
    """On standard output."""
    assert claude_run("--version").stdout == f"claude-run {__version__}\n"
