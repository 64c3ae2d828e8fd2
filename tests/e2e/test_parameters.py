"""Every parameter of `POST /run` does what the reference says of it."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeRunner

import servers
from doubles.git_server import git, serve_git
from runner.accounts import FIRST_UID, MAX_USERS
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


LARGE = "- x\n\u2028y\x00z " + "lorem ipsum " * 13_000
# A leading dash is no flag, a slash no command, an @ no file; and more than the 128 KiB that a
# command line takes for one argument.
PROMPTS: dict[str, dict[str, Any]] = {
    "--version and see @/etc/passwd": {"systemPrompt": "Answer in Latin only."},
    "/help": {"appendSystemPrompt": "Mind the --dashes.", "model": "claude-haiku-4-5"},
    LARGE: {},
}


@pytest.fixture(scope="module")
def asked(runner: servers.Server, model: servers.Server) -> dict[str, dict[str, Any]]:
    """What the model was asked for each of these prompts."""
    found = {}
    for number, (prompt, fields) in enumerate(PROMPTS.items()):
        mark = f"marker-asked-{number}"
        stream = post_run(runner.url, {"prompt": f"{prompt} {mark}", **fields})
        assert stream.error is None
        found[prompt] = last_request(model, mark)
        assert f"{prompt} {mark}" in user_texts(found[prompt])
    return found


def test_a_prompt_is_delivered_as_it_is(asked: dict[str, dict[str, Any]]) -> None:
    """The fixture finds each whole; and nothing of the file that one names."""
    assert len(asked) == len(PROMPTS)
    for request in asked.values():
        assert "root:x:0" not in json.dumps(request)


def test_system_prompt_replaces_the_built_in_one(asked: dict[str, dict[str, Any]]) -> None:
    """`systemPrompt` stands where Claude Code's own instructions stood."""
    text = system_text(asked["--version and see @/etc/passwd"])
    assert "Answer in Latin only." in text
    assert "software engineering" not in text


def test_append_system_prompt_adds_to_it(asked: dict[str, dict[str, Any]]) -> None:
    """`appendSystemPrompt` comes after Claude Code's own instructions."""
    text = system_text(asked["/help"])
    assert len(text) > 1000
    assert text.index("Mind the --dashes.") > 500


def test_the_named_model_is_asked(asked: dict[str, dict[str, Any]]) -> None:
    """`model`; without it another one."""
    assert asked["/help"]["model"] == "claude-haiku-4-5"
    assert asked[LARGE]["model"] != "claude-haiku-4-5"


PERL, GIT, WRITE = "perl.txt", "git.txt", "write.txt"
TRIES = scenario(
    use("Bash", command=f"perl -e 'print 1' > {PERL}"),
    use("Bash", command=f"git --version > {GIT}"),
    use("Write", file_path=f"{{{{cwd}}}}/{WRITE}", content="x"),
    say("end"),
)


@pytest.mark.parametrize(
    ("fields", "ran"),
    [
        ({}, {WRITE}),
        ({"allowedTools": ["Bash"]}, {PERL, GIT}),
        ({"allowedTools": ["Bash(perl *)", "Write"]}, {PERL, WRITE}),
        ({"allowedTools": ["Read"]}, set()),
        ({"allowedTools": []}, set()),
        ({"allowedTools": ["Bash", "Write"], "disallowedTools": ["Bash(perl *)", "Write"]}, {GIT}),
        ({"permissionMode": "dontAsk"}, set()),
    ],
)
def test_tools_run_only_as_allowed(
    runner: servers.Server, fields: dict[str, Any], ran: set[str]
) -> None:
    """An allowed tool runs; one left out, denied or not matching does not.

    Where nothing is said, `acceptEdits` edits without asking, and nobody is there to be asked.
    """
    stream = post_run(runner.url, {"prompt": TRIES, **fields})
    assert stream.error is None
    assert {file["path"] for file in stream.changes["files"]} == ran
    failed = [bool(result.get("is_error")) for result in stream.tool_results()]
    assert failed == [name not in ran for name in (PERL, GIT, WRITE)]
    assert stream.init["permissionMode"] == fields.get("permissionMode", "acceptEdits")


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
    assert FIRST_UID <= uid < FIRST_UID + MAX_USERS


@pytest.mark.parametrize(
    ("fields", "shout", "whisper"),
    [
        ({}, True, True),
        ({"allowedTools": ["Read"]}, False, False),
        (
            {"allowedTools": ["mcp__double"], "disallowedTools": ["mcp__double__shout"]},
            False,
            True,
        ),
    ],
)
def test_mcp_servers_of_the_request_are_started_and_heard(
    runner: servers.Server, fields: dict[str, Any], shout: bool, whisper: bool
) -> None:
    """A real server is started with its environment, its tools run unasked, its answer returns.

    Unless `allowedTools` names none of them; denial wins. (One tool of two: the attacks on limits.)
    """
    turns = (
        use("mcp__double__shout", text="hey"), use("mcp__double__whisper", text="you"), say("end")
    )  # fmt: skip
    stream = post_run(runner.url, {"prompt": scenario(*turns)} | mcp() | fields)
    assert [server["name"] for server in stream.init["mcp_servers"]] == ["double"]
    for text, heard, result in zip(
        ("hey", "you"), (shout, whisper), stream.tool_results(), strict=True
    ):
        said = f"server heard {text} with planted-greeting" in json.dumps(result)
        assert said is heard


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


def test_turns_end_a_run(runner: servers.Server) -> None:
    """`maxTurns` is 6 unless said; a run that wants more ends with MAX_TURNS, its files kept."""
    turns = [
        use("Write", file_path=f"{{{{cwd}}}}/{number}.txt", content="x") for number in range(9)
    ]
    stream = post_run(runner.url, {"prompt": scenario(*turns)})
    assert stream.error is not None
    assert stream.error["code"] == "MAX_TURNS"
    assert stream.result["subtype"] == "error_max_turns"
    assert len(stream.changes["files"]) == 6


def test_the_fallback_model_is_asked_when_the_first_is_overloaded(runner: servers.Server) -> None:
    """`fallbackModel`."""
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


@pytest.mark.parametrize(
    ("named", "shown"), [(True, r"/tmp/claude-run-.*/prompt"), (False, "pipe")]
)
def test_the_prompt_goes_by_named_pipe_or_by_plain_pipe(
    runner: servers.Server, named: bool, shown: str
) -> None:
    """What Claude Code reads is a FIFO in the run's private folder, or an anonymous pipe."""
    stream = post_run(
        runner.url,
        {
            "prompt": scenario(use("Bash", command="readlink /proc/$PPID/fd/0"), say("x")),
            "allowedTools": ["Bash"],
            "useNamedPipe": named,
        },
    )
    [result] = stream.tool_results()
    assert re.match(shown, str(result["content"]))


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
    stream = post_run(server.url, body | {"anthropicApiKey": "sk-callers-own-key-987"})
    assert stream.error is None
    newest = recorded(model, "marker-own-key")[-1]
    assert newest["headers"]["x-api-key"] == "sk-callers-own-key-987"


def test_a_repository_is_the_workspace(make_runner: MakeRunner, tmp_path: Path) -> None:
    """`repository` by URL and by name: its default branch, the named branch, the named commit."""
    with serve_git(tmp_path) as server:
        origin = server.create("octo/hello")
        origin.write("README.md", "first")
        first = origin.commit()
        origin.write("README.md", "second")
        second = origin.commit()
        git("checkout", "--quiet", "-b", "aside", cwd=origin.folder)
        origin.write("README.md", "aside")
        aside = origin.commit()
        runner = make_runner(GITHUB_SERVER_URL=f"http://{server.host}")
        for repository, base, content in (
            ({"url": server.url("octo/hello")}, second, "second"),
            ({"name": "octo/hello"}, second, "second"),
            ({"name": "octo/hello", "branch": "aside"}, aside, "aside"),
            ({"name": "octo/hello", "commit": first}, first, "first"),
        ):
            prompt = scenario(
                use("Bash", command="cat README.md && mv README.md moved"), say("{{last_result}}")
            )
            stream = post_run(
                runner.url, {"prompt": prompt, "repository": repository, "allowedTools": ["Bash"]}
            )
            assert (stream.error, stream.text) == (None, content)
            assert stream.changes["base"] == base
            moved = {file["path"]: file.get("deleted", False) for file in stream.changes["files"]}
            assert moved == {"README.md": True, "moved": False}


def test_a_transcript_has_its_subagents(runner: servers.Server) -> None:
    """`wantTranscript`: theirs are files beside the main one, and go into a resumed run with it."""
    inside = scenario(use("Bash", command="true"), say("The subagent says it."))
    task = use("Task", description="Look", prompt=inside, subagent_type="general-purpose")
    first = post_run(
        runner.url, {"prompt": scenario(task, say("It is there.")), "wantTranscript": True}
    )
    session = first.headers["x-session-id"]
    parts = first.data("transcript")
    told: dict[str, str] = {}
    for part in parts:
        told[part["path"]] = told.get(part["path"], "") + "".join(part["entries"])
    main = told.pop(f"{session}.jsonl")
    [(path, of_subagent)] = told.items()
    assert path.startswith(f"{session}/")
    assert "The subagent says it." in of_subagent
    assert "It is there." in main
    again = post_run(
        runner.url,
        {
            "prompt": scenario(say("On.")),
            "resume": {"sessionId": session, "transcript": parts},
        },
    )
    assert (again.error, again.text) == (None, "On.")


def test_resume_goes_on_in_a_fresh_container(
    runner: servers.Server, make_runner: MakeRunner, model: servers.Server
) -> None:
    """Another runner, given transcript and changes, knows what was said and has the files."""
    fresh = make_runner()
    first = post_run(
        runner.url,
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
    second = post_run(fresh.url, again)
    assert second.error is None
    assert second.headers["x-session-id"] == session
    assert second.init["cwd"] == first.init["cwd"]
    request = last_request(model, "marker-plum")
    assert any(message["role"] == "assistant" for message in request["messages"])
    assert "Noted." in json.dumps(request["messages"])
    assert second.tool_results()[-1]["content"].strip() == "p"
    assert [file["path"] for file in second.changes["files"]] == ["plum.txt"]
    third = post_run(
        runner.url,
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
