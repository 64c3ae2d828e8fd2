"""The real Claude Code runs against the scripted model and cannot tell it from the real one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import claude_agent_sdk
import httpx2
import pytest

pytestmark = pytest.mark.e2e

CLAUDE = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
DEADLINE = 60.0
SAY = {"blocks": [{"type": "text", "text": "Fine, thank you.", "chunk_size": 4}]}


@contextmanager
def model(*arguments: str) -> Iterator[str]:
    """A scripted model as a process of its own; yields its URL."""
    command = [sys.executable, "-m", "runner.scripted", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()
            process.wait(DEADLINE)
            assert_gone(process.pid)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with model() as address:
        yield address


def assert_gone(group: int) -> None:
    """Nothing of a process group is left."""
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


class Agent:
    """Claude Code in a directory of its own, with a home that lasts from run to run."""

    def __init__(self, directory: Path, url: str) -> None:
        self.workspace = directory / "work space"
        self.workspace.mkdir()
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "CLAUDE_CONFIG_DIR": str(directory / ".claude"),
            "ANTHROPIC_API_KEY": "sk-ant-scripted",
            "ANTHROPIC_BASE_URL": url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "DISABLE_AUTOUPDATER": "1",
        }

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        output = ("--output-format", "stream-json", "--include-partial-messages", "--verbose")
        return subprocess.Popen(
            [CLAUDE, "-p", *output, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.workspace,
            env=self._environ,
            start_new_session=True,
        )

    def run(self, prompt: str, *arguments: str) -> "Lines":
        return finish(self.start(*arguments, "--", prompt))


class Lines:
    """What Claude Code printed."""

    def __init__(self, output: bytes) -> None:
        self.all: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.all if line["type"] == kind]

    @property
    def result(self) -> dict[str, Any]:
        return self.of("result")[-1]

    def deltas(self, kind: str, field: str) -> list[str]:
        events = [line["event"] for line in self.of("stream_event")]
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        return [delta[field] for delta in deltas if delta["type"] == kind]

    def results(self) -> list[dict[str, Any]]:
        """The results of tools."""
        return [block for line in self.of("user") for block in line["message"]["content"]]

    def retries(self) -> list[int | None]:
        """The statuses after which Claude Code tried again."""
        return [line["error_status"] for line in self.all if line.get("subtype") == "api_retry"]


def finish(process: "subprocess.Popen[bytes]") -> Lines:
    with process:
        try:
            output, _ = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert_gone(process.pid)
    return Lines(output)


@pytest.fixture
def agent(tmp_path: Path, url: str) -> Agent:
    return Agent(tmp_path, url)


def tag(*turns: dict[str, Any]) -> str:
    return f"<scenario>{json.dumps({'turns': turns})}</scenario>"


def call(name: str, **given: object) -> dict[str, Any]:
    return {"type": "tool_use", "name": name, "input": given}


def text(words: str) -> dict[str, Any]:
    return {"blocks": [{"type": "text", "text": words}]}


def test_words_and_usage(agent: Agent) -> None:
    """Every delta is a line; the figures of the scenario are those of the result."""
    usage = {
        "input_tokens": 1000,
        "output_tokens": 200,
        "cache_read_input_tokens": 30,
        "cache_creation_input_tokens": 4,
    }
    lines = agent.run(f"How are you? {tag({**SAY, 'usage': usage})}")
    assert lines.deltas("text_delta", "text") == ["Fine", ", th", "ank ", "you."]
    result = lines.result
    assert (result["subtype"], result["result"]) == ("success", "Fine, thank you.")
    assert {name: result["usage"][name] for name in usage} == usage
    assert result["total_cost_usd"] > 0


def test_twenty_thousand_deltas(agent: Agent) -> None:
    """None is lost, and they keep their order."""
    block = {"type": "text", "text": "{{n}} ", "repeat": 20_000}
    lines = agent.run(tag({"blocks": [block]}))
    assert lines.deltas("text_delta", "text") == [f"{n} " for n in range(1, 20_001)]
    assert lines.result["subtype"] == "success"


def test_thinking(agent: Agent) -> None:
    """Thinking comes in pieces and is signed."""
    thinking = {"type": "thinking", "thinking": "Let me see.", "chunk_size": 5, "signature": "sig"}
    lines = agent.run(tag({"blocks": [thinking, *SAY["blocks"]]}))
    assert lines.deltas("thinking_delta", "thinking") == ["Let m", "e see", "."]
    assert lines.deltas("signature_delta", "signature") == ["sig"]
    assert lines.result["result"] == "Fine, thank you."


def test_tools_run(agent: Agent) -> None:
    """Two calls of one answer are executed, and their results reach the next turn."""
    calls = [
        {"type": "text", "text": "Working in {{cwd}}."},
        call("Write", file_path="{{cwd}}/a.txt", content="made by a tool\n"),
        call("Bash", command="cat a.txt; pwd"),
    ]
    last = text("It says: {{last_result}}; you said: {{first_prompt}}")
    lines = agent.run(f"Do it. {tag({'blocks': calls}, last)}", "--allowedTools", "Write,Bash")
    assert (agent.workspace / "a.txt").read_text() == "made by a tool\n"
    assert len(lines.results()) == 2
    assert lines.result["result"] == (
        f"It says: made by a tool\n{agent.workspace}; you said: Do it."
    )


def test_the_conversation_goes_on(agent: Agent) -> None:
    """A resumed conversation brings a new scenario, or goes on in the old one."""
    first = agent.run(f"Begin. {tag(text('one'), text('two'))}")
    resume = ("--resume", first.result["session_id"])
    assert first.result["result"] == "one"
    assert agent.run("Go on.", *resume).result["result"] == "two"
    third = agent.run(tag(text("Three; first came: {{first_prompt}}")), *resume)
    assert third.result["result"] == "Three; first came: Begin."


def test_a_subagent_has_a_scenario_of_its_own(agent: Agent) -> None:
    """Its prompt carries one, and its parent's is not disturbed."""
    inner = tag(text("from below")).replace("</scenario>", r"<\/scenario>")
    task = call("Task", description="d", subagent_type="general-purpose", prompt=inner)
    # In the outer JSON the closing tag is escaped once more, and arrives as it should.
    outer = tag({"blocks": [task]}, text("from above")).replace(r"<\\/scenario>", r"<\/scenario>")
    lines = agent.run(outer)
    said = [
        block["text"]
        for line in lines.of("assistant")
        for block in line["message"]["content"]
        if block["type"] == "text"
    ]
    assert {"from below", "from above"} <= set(said)


def test_an_invalid_key(agent: Agent) -> None:
    """A 401 ends as Claude Code ends with the real API."""
    lines = agent.run(tag({"error": {"status": 401}}))
    assert lines.retries() == [401]
    assert lines.result["is_error"]
    assert lines.result["api_error_status"] == 401


@pytest.mark.parametrize(("status", "name"), [(529, "overloaded"), (429, "rate_limit")])
def test_an_error_that_passes(agent: Agent, status: int, name: str) -> None:
    """Claude Code waits, tries again and succeeds."""
    error = {"status": status, "times": 1, "retry_after": 0}
    lines = agent.run(tag({**SAY, "error": error}))
    assert lines.retries() == [status]
    assert [line["error"] for line in lines.all if line.get("subtype") == "api_retry"] == [name]
    assert lines.result["result"] == "Fine, thank you."


def test_a_broken_stream(agent: Agent) -> None:
    """Cut once, it is repeated; cut always, it is an error."""
    cut = {"type": "cut", "after_events": 5}
    lines = agent.run(tag({**SAY, "fault": {**cut, "times": 1}}))
    assert lines.deltas("text_delta", "text")[:2] == ["Fine", ", th"]
    assert lines.result["result"] == "Fine, thank you."
    lines = agent.run(tag({**SAY, "fault": cut}))
    assert lines.result["is_error"]
    assert lines.deltas("text_delta", "text")[:2] == ["Fine", ", th"]


def test_an_error_in_mid_stream(agent: Agent) -> None:
    """Overloaded after the first words: tried again, and at last reported."""
    fault = {"type": "error_event", "after_events": 5}
    lines = agent.run(tag({**SAY, "fault": {**fault, "times": 1}}))
    assert lines.result["result"] == "Fine, thank you."
    lines = agent.run(tag({**SAY, "fault": fault}))
    assert lines.result["is_error"]
    assert "verloaded" in lines.result["result"]


def test_a_wrong_scenario_says_so(agent: Agent) -> None:
    """The mistake reaches the one who made it."""
    result = agent.run(tag({"blocks": []})).result
    assert result["is_error"]
    assert "scenario: turns.0: " in result["result"]


def test_the_demonstration(agent: Agent) -> None:
    """Without a scenario: it says what it is, writes a file, and closes."""
    lines = agent.run("Hello there", "--permission-mode", "acceptEdits")
    assert len(lines.deltas("text_delta", "text")) > 20
    assert "scripted model" in "".join(lines.deltas("text_delta", "text"))
    assert "> Hello there" in (agent.workspace / "scripted-model-1.md").read_text()
    assert str(agent.workspace / "scripted-model-1.md") in lines.result["result"]


@pytest.mark.parametrize("arguments", [("--system-prompt", "Be brief."), ("--bare",)])
def test_the_directory_is_known_under_any_system_prompt(
    agent: Agent, arguments: tuple[str, ...]
) -> None:
    """Claude Code states it in other places then."""
    result = agent.run(tag(text("In {{cwd}}.")), *arguments).result
    assert result["result"] == f"In {agent.workspace}."


def test_scenarios_of_a_file(tmp_path: Path) -> None:
    """A prompt names one; without a name the default is played."""
    file = tmp_path / "scenarios.json"
    scenarios = {"default": {"turns": [text("by default")]}, "other": {"turns": [text("other")]}}
    file.write_text(json.dumps(scenarios))
    with model("--scenario", str(file)) as url:
        agent = Agent(tmp_path, url)
        assert agent.run("Hello").result["result"] == "by default"
        assert agent.run('Hello <scenario name="other"/>').result["result"] == "other"


def test_a_wrong_file_is_refused_at_the_start(tmp_path: Path) -> None:
    """The field is named, and nothing listens."""
    file = tmp_path / "scenarios.json"
    file.write_text('{"default": {"turns": [{}]}}')
    command = [sys.executable, "-m", "runner.scripted", "--scenario", str(file)]
    ended = subprocess.run(command, capture_output=True, timeout=DEADLINE, check=False)
    assert ended.returncode == 2
    assert b"scenarios.default.turns.0: " in ended.stderr
    assert ended.stdout == b""


def test_conversations_do_not_disturb_each_other(tmp_path: Path, url: str) -> None:
    """Several at once, each with a refusal and two turns, each with its own words only."""
    processes = []
    for number in range(4):
        directory = tmp_path / str(number)
        directory.mkdir()
        turns = (
            {"error": {"status": 529, "times": 1}, "blocks": [call("Bash", command="echo hi")]},
            text(f"I am {number}."),
        )
        agent = Agent(directory, url)
        processes.append(agent.start("--allowedTools", "Bash", "--", tag(*turns)))
    results = [finish(process).result["result"] for process in processes]
    assert results == [f"I am {number}." for number in range(4)]


def test_what_claude_code_asks_for_is_answered(agent: Agent, url: str) -> None:
    """In a plain run there is no request that the scripted model does not know."""
    httpx2.delete(f"{url}/requests")
    agent.run(tag(SAY))
    requests = httpx2.get(f"{url}/requests").json()
    assert [(each["method"], each["path"]) for each in requests] == [
        ("POST", "/v1/messages?beta=true")
    ]
    assert requests[0]["headers"]["x-api-key"] == "sk-ant-scripted"
