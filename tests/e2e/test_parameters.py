"""Every parameter of `POST /run` does what the reference says of it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeRunner

import servers
from servers import last_request, post_run, recorded, say, scenario, use

pytestmark = pytest.mark.e2e

MCP_SERVER = (Path(__file__).parent.parent / "doubles" / "mcp_server.sh").read_text()


def system_text(request: Mapping[str, Any]) -> str:
    """All of a request's system prompt."""
    return "\n".join(block["text"] for block in request["system"])


def user_texts(request: Mapping[str, Any]) -> list[str]:
    """The texts of a request's user messages."""
    return [
        block["text"]
        for message in request["messages"]
        if message["role"] == "user" and isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "text"
    ]


def test_system_prompt_replaces_the_built_in_one(
    runner: servers.Server, model: servers.Server
) -> None:
    """`systemPrompt` stands where Claude Code's own instructions stood."""
    post_run(runner.url, {"prompt": "marker-sys-1", "systemPrompt": "Answer in Latin only."})
    text = system_text(last_request(model, "marker-sys-1"))
    assert "Answer in Latin only." in text
    assert "software engineering" not in text


def test_append_system_prompt_adds_to_it(runner: servers.Server, model: servers.Server) -> None:
    """`appendSystemPrompt` comes after Claude Code's own instructions."""
    post_run(runner.url, {"prompt": "marker-sys-2", "appendSystemPrompt": "Mind the --dashes."})
    text = system_text(last_request(model, "marker-sys-2"))
    assert len(text) > 1000
    assert text.index("Mind the --dashes.") > 500


def test_a_prompt_is_delivered_as_it_is(runner: servers.Server, model: servers.Server) -> None:
    """A leading dash is no flag, a slash no command, an @ no file."""
    for number, prompt in enumerate(
        ("--version", "/help", "see @/etc/passwd", "- x\n\u2028y\x00z")
    ):
        post_run(runner.url, {"prompt": f"{prompt} marker-verbatim-{number}"})
        request = last_request(model, f"marker-verbatim-{number}")
        assert f"{prompt} marker-verbatim-{number}" in user_texts(request)
        assert "root:x:0" not in json.dumps(request)


@pytest.mark.parametrize(
    ("fields", "runs"),
    [
        ({"allowedTools": ["Bash"]}, True),
        ({"allowedTools": ["Bash(perl *)"]}, True),
        ({"allowedTools": ["Bash(git *)"]}, False),
        ({"allowedTools": ["Read"]}, False),
        ({"allowedTools": []}, False),
        ({"allowedTools": ["Bash"], "disallowedTools": ["Bash"]}, False),
        ({"allowedTools": ["Bash"], "disallowedTools": ["Bash(perl *)"]}, False),
        ({"permissionMode": "plan"}, False),
        ({"permissionMode": "dontAsk"}, False),
    ],
)
def test_tools_run_only_as_allowed(
    runner: servers.Server, fields: dict[str, Any], runs: bool
) -> None:
    """An allowed tool runs; one left out, denied or not matching does not."""
    stream = post_run(
        runner.url,
        {
            "prompt": scenario(use("Bash", command="perl -e 'print 1' > proof.txt"), say("end")),
            **fields,
        },
    )
    files = [file["path"] for file in stream.changes["files"]]
    assert ("proof.txt" in files) is runs
    [result] = stream.tool_results()
    assert result.get("is_error", False) is not runs


def test_only_named_tools_exist(runner: servers.Server) -> None:
    """`allowedTools` is the whole list; a name that does not exist is reported, Grep never."""
    stream = post_run(
        runner.url,
        {"prompt": scenario(say("x")), "allowedTools": ["Read", "Bash(ls *)", "LS", "Grep"]},
    )
    assert set(stream.init["tools"]) - {"Grep"} == {"Read", "Bash"}
    assert [warning["code"] for warning in stream.data("warning")] == ["UNKNOWN_TOOL"]
    assert "LS" in stream.data("warning")[0]["message"]


def test_the_operators_tools_and_mode_hold_where_the_request_is_silent(
    make_runner: MakeRunner,
) -> None:
    """`ALLOWED_TOOLS` and `PERMISSION_MODE` are defaults, not limits."""
    server = make_runner(ALLOWED_TOOLS='["Read"]', PERMISSION_MODE="plan")
    silent = post_run(server.url, {"prompt": scenario(say("x"))})
    assert silent.init["tools"] == ["Read"]
    assert silent.init["permissionMode"] == "plan"
    said = post_run(
        server.url,
        {"prompt": scenario(say("x")), "allowedTools": ["Bash"], "permissionMode": "default"},
    )
    assert said.init["tools"] == ["Bash"]
    assert said.init["permissionMode"] == "default"


@pytest.mark.parametrize(("mode", "writes"), [("acceptEdits", True), ("default", False)])
def test_permission_mode_decides_about_edits(
    runner: servers.Server, mode: str, writes: bool
) -> None:
    """`acceptEdits` writes without asking; `default` would ask, and nobody is there."""
    stream = post_run(
        runner.url,
        {
            "prompt": scenario(use("Write", file_path="{{cwd}}/b.txt", content="b"), say("end")),
            "permissionMode": mode,
        },
    )
    assert bool(stream.changes["files"]) is writes
    assert stream.init["permissionMode"] == mode


@pytest.mark.root
def test_bypass_permissions_runs_everything_as_a_user_of_its_own(runner: servers.Server) -> None:
    """`bypassPermissions` is for runners that give each run an unprivileged user."""
    if os.geteuid() != 0:
        stream = post_run(runner.url, {"prompt": "x", "permissionMode": "bypassPermissions"})
        assert stream.status == 400
        return
    stream = post_run(
        runner.url,
        {
            "prompt": scenario(use("Bash", command="id -u; mktemp -u"), say("end")),
            "permissionMode": "bypassPermissions",
        },
    )
    [result] = stream.tool_results()
    uid = int(str(result["content"]).split()[0])
    assert 20_000 <= uid < 21_000


def test_mcp_servers_of_the_request_are_started_and_heard(runner: servers.Server) -> None:
    """A real server is started with its environment, its tool runs unasked, its answer returns."""
    stream = post_run(
        runner.url,
        {"prompt": scenario(use("mcp__double__shout", text="hey"), say("end"))} | mcp(),
    )
    assert [server["name"] for server in stream.init["mcp_servers"]] == ["double"]
    [result] = stream.tool_results()
    assert "server heard hey with planted-greeting" in json.dumps(result)


@pytest.mark.parametrize(
    ("fields", "shout", "whisper"),
    [
        ({"allowedTools": ["Read"]}, False, False),
        ({"allowedTools": ["mcp__double__shout"]}, True, False),
        ({"allowedTools": ["mcp__double"]}, True, True),
        ({"disallowedTools": ["mcp__double__shout"]}, False, True),
    ],
)
def test_mcp_tools_follow_the_same_lists(
    runner: servers.Server, fields: dict[str, Any], shout: bool, whisper: bool
) -> None:
    """Named ones run, others do not; denial wins."""
    stream = post_run(
        runner.url,
        {
            "prompt": scenario(
                use("mcp__double__shout", text="a"), use("mcp__double__whisper", text="b"), say("x")
            )
        }
        | mcp()
        | fields,
    )
    ran = ["server heard" in json.dumps(result) for result in stream.tool_results()]
    assert ran == [shout, whisper]


def mcp() -> dict[str, Any]:
    """The fields that bring the test server."""
    return {
        "mcpConfigJson": {
            "mcpServers": {
                "double": {
                    "command": "bash",
                    "args": ["-c", MCP_SERVER],
                    "env": {"MCP_GREETING": "planted-greeting"},
                }
            }
        }
    }


def test_max_turns_ends_a_run(runner: servers.Server) -> None:
    """The default is 6; a run that wants more ends with MAX_TURNS, its files kept."""
    turns = [
        use("Write", file_path=f"{{{{cwd}}}}/{number}.txt", content="x") for number in range(9)
    ]
    default = post_run(runner.url, {"prompt": scenario(*turns)})
    assert default.error is not None
    assert default.error["code"] == "MAX_TURNS"
    assert default.result["subtype"] == "error_max_turns"
    two = post_run(runner.url, {"prompt": scenario(*turns), "maxTurns": 2})
    assert len(two.changes["files"]) == 2
    assert len(default.changes["files"]) == 6


def test_model_and_fallback_model_reach_the_upstream(
    runner: servers.Server, model: servers.Server
) -> None:
    """The named model is asked; when it is overloaded, the fallback is."""
    post_run(runner.url, {"prompt": "marker-model", "model": "claude-haiku-4-5"})
    assert last_request(model, "marker-model")["model"] == "claude-haiku-4-5"
    stream = post_run(
        runner.url,
        {
            "prompt": scenario({"error": {"status": 529, "times": 3}} | say("fallen back")),
            "model": "claude-opus-4-5",
            "fallbackModel": "claude-haiku-4-5",
        },
    )
    assert stream.text == "fallen back"
    assert "claude-haiku-4-5" in stream.result["modelUsage"]


def test_the_prompt_goes_by_named_pipe_or_by_plain_pipe(runner: servers.Server) -> None:
    """What Claude Code reads is a FIFO in the run's private folder, or an anonymous pipe."""
    shown = {}
    for named in (True, False):
        stream = post_run(
            runner.url,
            {
                "prompt": scenario(use("Bash", command="readlink /proc/$PPID/fd/0"), say("x")),
                "allowedTools": ["Bash"],
                "useNamedPipe": named,
            },
        )
        shown[named] = json.dumps(stream.tool_results())
    assert "/prompt" in shown[True]
    assert "claude-run-" in shown[True]
    assert "pipe:[" in shown[False]


def test_a_large_prompt_arrives_whole(runner: servers.Server, model: servers.Server) -> None:
    """More than the 128 KiB that a command line takes for one argument."""
    text = "marker-large " + "lorem ipsum " * 13_000
    stream = post_run(runner.url, {"prompt": text})
    assert stream.error is None
    request = last_request(model, "marker-large")
    assert text in user_texts(request)


def test_output_schema_gives_structured_output(runner: servers.Server) -> None:
    """The answer that fits the schema stands in the result."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    stream = post_run(
        runner.url,
        {
            "prompt": scenario(use("StructuredOutput", n=7), say("done")),
            "outputSchema": schema,
        },
    )
    assert stream.result["structured_output"] == {"n": 7}


def test_max_budget_usd_ends_a_run(runner: servers.Server) -> None:
    """A budget that the first answer passes lets no second one start."""
    costly = use("Write", file_path="{{cwd}}/x.txt", content="x") | {
        "usage": {"input_tokens": 1_000_000, "output_tokens": 10_000}
    }
    stream = post_run(runner.url, {"prompt": scenario(costly, say("never")), "maxBudgetUsd": 0.01})
    assert stream.error is not None
    assert stream.error["code"] == "BUDGET_EXCEEDED"
    assert "never" not in stream.text


def test_the_callers_own_key_and_upstream(make_runner: MakeRunner, model: servers.Server) -> None:
    """`anthropicApiKey` and `anthropicBaseUrl` replace the runner's own, together."""
    server = make_runner(
        upstream="http://127.0.0.1:9", ALLOWED_MODEL_HOSTS="127.0.0.1", ANTHROPIC_API_KEY=""
    )
    body = {"prompt": "marker-own-key", "anthropicBaseUrl": model.url}
    assert json.loads(post_run(server.url, body).body)["code"] == "NO_CREDENTIAL"
    for key, header in (
        ("sk-callers-own-key-987", "x-api-key"),
        ("sk-ant-oat-callers-own-token", "authorization"),
    ):
        stream = post_run(server.url, body | {"anthropicApiKey": key})
        assert stream.error is None
        newest = recorded(model, "marker-own-key")[-1]
        assert newest["headers"][header].removeprefix("Bearer ") == key


def test_resume_goes_on_in_a_fresh_container(
    make_runner: MakeRunner, model: servers.Server
) -> None:
    """Another runner, given transcript and changes, knows what was said and has the files."""
    first = post_run(
        make_runner().url,
        {
            "prompt": "The word is marker-plum. "
            + scenario(use("Write", file_path="{{cwd}}/plum.txt", content="p"), say("Noted.")),
            "wantTranscript": True,
        },
    )
    session = first.headers["x-session-id"]
    again = {
        "prompt": scenario(use("Bash", command="cat {{cwd}}/plum.txt"), say("marker-second")),
        "allowedTools": ["Bash"],
        "resume": {"sessionId": session, "transcript": first.data("transcript")},
        "changes": first.changes,
        "wantTranscript": True,
    }
    second = post_run(make_runner().url, again)
    assert second.error is None
    assert second.headers["x-session-id"] == session
    assert second.init["cwd"] == first.init["cwd"]
    request = last_request(model, "marker-plum")
    assert any(message["role"] == "assistant" for message in request["messages"])
    assert "Noted." in json.dumps(request["messages"])
    assert second.tool_results()[-1]["content"].strip() == "p"
    assert [file["path"] for file in second.changes["files"]] == ["plum.txt"]
    third = post_run(
        make_runner().url,
        again
        | {
            "prompt": scenario(say("third")),
            "resume": {
                "sessionId": session,
                "transcript": first.data("transcript") + second.data("transcript"),
            },
        },
    )
    assert third.text == "third"
