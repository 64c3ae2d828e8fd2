"""One trace from a caller's request to the agent, over both processes, where one is asked for."""

import base64
import json
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2
import pytest

import servers
from doubles.collector import Collector, Exported, collector
from doubles.git_server import GitServer, serve_git
from servers import PLANTED_KEY, post_run, running_gateway, running_runner, say, scenario, use

pytestmark = pytest.mark.e2e

TRACE = "105445aa7843bc8bf206b12000100000"
CALLER = "00f067aa0ba902b7"
CALLED = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
OWN_KEY = "sk-planted-key-of-a-caller-0123456789"
PROMPT = "planted-words-of-a-prompt"
CHAIN = ["gateway.request", "session.turn", "runner.request", "runner.run", "runner.agent"]
# Cloud Run kills 10 s after SIGTERM.
EXIT_SECONDS = 8.0


@pytest.fixture
def collected() -> Iterator[Collector]:
    """A collector of the test's own."""
    with collector() as double:
        yield double


def chain(spans: list[Exported], leaf: str) -> list[str]:
    """The names from the span that the caller's is the parent of, down to `leaf`."""
    by_id = {span.span_id: span for span in spans}
    names: list[str] = []
    at: Exported | None = next(span for span in spans if span.name == leaf)
    while at is not None:
        names.insert(0, at.name)
        above, at = at.parent_id, by_id.get(at.parent_id)
    assert above == CALLER
    return names


def environment_of_the_agent() -> str:
    """A prompt whose agent writes its TRACEPARENT, and speaks."""
    return scenario(use("Bash", command='printf %s "$TRACEPARENT" > parent.txt'), say(PROMPT))


def start(url: str, body: Mapping[str, object], headers: dict[str, str]) -> str:
    """A session's first turn, read to its end."""
    with httpx2.Client(timeout=60, trust_env=False) as client:
        answer = client.post(f"{url}/interactive/start", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


def names(spans: list[Exported]) -> set[str]:
    """Their names."""
    return {span.name for span in spans}


def lines(server: servers.Server, message: str) -> list[dict[str, object]]:
    """The log lines with this message."""
    found = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [line for line in found if line.get("message") == message]


def test_a_session_is_one_trace_over_both_processes(
    model: servers.Server, collected: Collector, tmp_path: Path
) -> None:
    """Each step below the one that began it, the logs of both beside them, and no secret."""
    with (
        running_runner(model.url, **collected.environ, GOOGLE_CLOUD_PROJECT="p") as runner,
        running_gateway(
            runner.url, tmp_path, **collected.environ, GOOGLE_CLOUD_PROJECT="p"
        ) as gateway,
    ):
        body = {"prompt": scenario(say(PROMPT)), "anthropicApiKey": OWN_KEY}
        text = start(gateway.url, body, CALLED)
        assert "event: complete" in text
        spans = collected.wait_for(lambda found: set(CHAIN) <= names(found))
        ended, forwarded = lines(gateway, "turn ended"), lines(runner, "stream ended")
    assert chain(spans, "runner.agent") == CHAIN
    assert {span.trace_id for span in spans} == {TRACE}
    assert not [span for span in spans if span.failed]
    services = {span.name: span.service for span in spans}
    assert services["session.turn"] == "claude-run-gateway"
    assert services["runner.run"] == "claude-run-runner"
    by_name = {span.name: span for span in spans}
    assert by_name["gateway.request"].attributes["claude_run.route"] == "/interactive/start"
    for found, name in ((ended, "session.turn"), (forwarded, "runner.request")):
        assert found[0]["logging.googleapis.com/trace"] == f"projects/p/traces/{TRACE}"
        assert found[0]["logging.googleapis.com/spanId"] == by_name[name].span_id
    for secret in (PLANTED_KEY, OWN_KEY, PROMPT):
        assert secret.encode() not in collected.raw


def test_a_run_is_traced_with_its_clone_and_its_agent(
    model: servers.Server, collected: Collector, tmp_path: Path
) -> None:
    """Straight to the runner. Claude Code, and what it starts, is told which step it is."""
    with (
        serve_git(tmp_path) as git,
        running_runner(model.url, **collected.environ, ALLOWED_GIT_HOSTS=git.host) as runner,
    ):
        stream = post_run(
            runner.url,
            {
                "prompt": environment_of_the_agent(),
                "repository": {"url": repository(git)},
                "allowedTools": ["Bash"],
            },
            headers=CALLED,
        )
        assert stream.error is None
        wanted = {"runner.clone", "runner.agent", "runner.request"}
        spans = collected.wait_for(lambda found: wanted <= names(found))
    assert chain(spans, "runner.clone") == ["runner.request", "runner.run", "runner.clone"]
    assert chain(spans, "runner.agent") == ["runner.request", "runner.run", "runner.agent"]
    (written,) = stream.changes["files"]
    told = base64.b64decode(written["content"]).decode().split("-")
    # Below `runner.agent` itself, or a step of Claude Code's own in the same trace.
    assert told[1] == TRACE
    assert PLANTED_KEY.encode() not in collected.raw
    assert PROMPT.encode() not in collected.raw


def repository(git: GitServer) -> str:
    """A repository with one commit."""
    origin = git.create("octo/hello")
    origin.write("README.md", "# Hello\n")
    origin.commit("Say hello")
    return git.url("octo/hello")


def test_what_is_left_is_exported_at_the_end(
    model: servers.Server, collected: Collector, tmp_path: Path
) -> None:
    """Neither waits for its next batch when it is told to stop; a failure is named by its code."""
    environ = collected.environ | {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with (
        running_runner(model.url, **environ) as runner,
        running_gateway(runner.url, tmp_path, **environ) as gateway,
    ):
        body = {"prompt": scenario(say("hello")), "options": {"maxTurns": 1}}
        start(gateway.url, body | {"anthropicApiKey": OWN_KEY}, CALLED)
        assert collected.spans() == []
        gateway.stop(signal.SIGTERM)
        assert names(collected.spans()) == {"gateway.request", "session.turn"}
        runner.stop(signal.SIGTERM)
    assert chain(collected.spans(), "runner.agent") == CHAIN


def test_a_collector_that_is_gone_is_in_nobodys_way(model: servers.Server) -> None:
    """Runs are served as ever, the end is in time, and it is told in one line of JSON."""
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    with running_runner(model.url, **nowhere, OTEL_BSP_SCHEDULE_DELAY="100") as runner:
        assert post_run(runner.url, {"prompt": scenario(say("hello"))}).text == "hello"
        began = time.monotonic()
        assert runner.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < EXIT_SECONDS
        assert lines(runner, "traces are not exported")
        assert all(line.startswith("{") for line in runner.log().splitlines()[1:])


def test_unconfigured_nothing_is_exported(
    model: servers.Server, collected: Collector, tmp_path: Path
) -> None:
    """A trace of the caller's still goes through, in the logs of both."""
    with (
        running_runner(model.url) as runner,
        running_gateway(runner.url, tmp_path) as gateway,
    ):
        body = {"prompt": scenario(say("hello")), "anthropicApiKey": OWN_KEY}
        assert "event: complete" in start(gateway.url, body, CALLED)
        gateway.stop(signal.SIGTERM)
        runner.stop(signal.SIGTERM)
        for found in (lines(gateway, "turn ended"), lines(runner, "stream ended")):
            assert found[0]["logging.googleapis.com/trace"] == TRACE
            assert found[0]["logging.googleapis.com/spanId"] == CALLER
    assert collected.server.asked == []
