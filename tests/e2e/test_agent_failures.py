"""A Claude Code that fails in every way: an `error` with its code, then `done`, nothing left."""

import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeRunner

import servers
from doubles.claude_cli import behaviour_by_model
from servers import post_run, say, scenario

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def odd(model: servers.Server) -> Iterator[str]:
    """A runner whose Claude Code does what the run's `model` says."""
    # In a folder that a run's own user can reach: pytest's own are 0700.
    with tempfile.TemporaryDirectory(prefix="double-") as folder:
        Path(folder).chmod(0o755)
        cli = behaviour_by_model(Path(folder))
        with servers.running_runner(model.url, CLAUDE_CLI=str(cli)) as server:
            yield server.url


@pytest.mark.parametrize(
    ("name", "exit_status"),
    [
        ("dies-at-once", 127),
        ("dies-later", 137),
        ("says-nothing", 0),
        ("garbage", 0),
        ("half-a-line", 0),
        ("no-type", 0),
    ],
)
def test_without_a_result_there_is_no_success(odd: str, name: str, exit_status: int) -> None:
    """Whatever else it does: no result line, no success."""
    body = {"prompt": "x", "model": name}
    stream = post_run(odd, body)
    assert [event.event for event in stream.events][-3:] == ["changes", "error", "done"]
    assert stream.error is not None
    assert stream.error["code"] == "AGENT_FAILED"
    assert stream.error["details"]["exitStatus"] == exit_status
    answer = post_run(odd, body, headers={"Accept": "application/json"})
    assert answer.status == 500
    assert json.loads(answer.body)["error"]["code"] == "AGENT_FAILED"


@pytest.mark.parametrize("name", ["garbage-then-result", "result-without-newline"])
def test_a_result_counts_whatever_stands_around_it(odd: str, name: str) -> None:
    """Output that is no message is reported once; a result is a result."""
    stream = post_run(odd, {"prompt": "x", "model": name})
    assert stream.error is None
    assert stream.result["result"] == "fine"
    expected = ["AGENT_OUTPUT"] if name == "garbage-then-result" else []
    assert [warning["code"] for warning in stream.data("warning")] == expected


def test_half_a_surrogate_pair_arrives(odd: str) -> None:
    """A text that was cut within a character has no UTF-8; it is passed on as it was escaped."""
    body = {"prompt": "x", "model": "half-a-pair"}
    assert post_run(odd, body).result["result"] == "\ud83d"
    answer = post_run(odd, body, headers={"Accept": "application/json"})
    assert answer.status == 200
    assert json.loads(answer.body)["result"]["result"] == "\ud83d"


def test_one_that_does_not_end_is_ended(odd: str) -> None:
    """A process that ignores SIGTERM and leaves children is killed with them."""
    begin = time.monotonic()
    stream = post_run(odd, {"prompt": "x", "model": "ignores-the-end", "timeoutMinutes": 0.05})
    assert stream.error is not None
    assert stream.error["code"] == "TIMEOUT"
    assert time.monotonic() - begin < 2 * (0.05 * 60 + 4)


def test_a_line_of_ten_megabytes_arrives(odd: str) -> None:
    """Unchanged, in one event."""
    stream = post_run(odd, {"prompt": "x", "model": "ten-megabytes"})
    assert stream.error is None
    assert len(stream.data("message")[0]["text"]) == 10_000_000


def test_no_output_can_forge_an_event(odd: str) -> None:
    """CR, LF, U+2028, NUL and BOM in a line stay inside its event."""
    stream = post_run(odd, {"prompt": "x", "model": "odd-characters"})
    messages: list[dict[str, Any]] = stream.data("message")
    assert messages[0]["t"] == "a\u2028b\x00c\r\nd \u2028 \ufeff event: done"
    assert [event.event for event in stream.events].count("done") == 1


REFUSALS = {
    401: ("UPSTREAM_AUTH", 15),
    403: ("UPSTREAM_AUTH", 15),
    429: ("UPSTREAM_RATE_LIMIT", 40),
    529: ("UPSTREAM_OVERLOADED", 40),
    500: ("UPSTREAM_ERROR", 40),
}


def test_what_anthropic_refuses_is_told(runner: servers.Server) -> None:
    """With its own code, bounded; a refused credential at once. All at once: they mostly wait."""

    def refused(status: int) -> tuple[servers.Stream, float]:
        begin = time.monotonic()
        stream = post_run(runner.url, {"prompt": scenario({"error": {"status": status}})})
        return stream, time.monotonic() - begin

    with ThreadPoolExecutor(len(REFUSALS)) as pool:
        found = dict(zip(REFUSALS, pool.map(refused, REFUSALS), strict=True))
    for status, (code, most) in REFUSALS.items():
        stream, seconds = found[status]
        assert stream.error is not None
        assert stream.error["code"] == code
        assert stream.error["details"] == {"status": status}
        assert seconds < most
        retries = [m for m in stream.data("message") if m.get("subtype") == "api_retry"]
        assert bool(retries) is (status not in (401, 403)), "each retry is told"


def test_an_overload_that_passes_is_no_failure(runner: servers.Server) -> None:
    """Claude Code tries again, and the run succeeds."""
    stream = post_run(
        runner.url, {"prompt": scenario({"error": {"status": 529, "times": 1}} | say("back"))}
    )
    assert stream.error is None
    assert stream.text == "back"


def test_an_upstream_that_cannot_be_reached(make_runner: MakeRunner) -> None:
    """An upstream error, not an agent's."""
    stream = post_run(make_runner(upstream="http://127.0.0.1:9").url, {"prompt": "x"})
    assert stream.error is not None
    assert stream.error["code"] == "UPSTREAM_ERROR"


def test_a_claude_code_that_is_not_there(make_runner: MakeRunner) -> None:
    """The reason is told, and that it is not the caller's."""
    stream = post_run(make_runner(CLAUDE_CLI="/nonexistent/claude").url, {"prompt": "x"})
    assert stream.error is not None
    assert stream.error["code"] == "AGENT_FAILED"
    assert "No such file" in stream.error["details"]["stderr"]
