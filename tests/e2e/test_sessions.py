"""Sessions through the front door: two gateways, one store, two runners, the real Claude."""

import json
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import servers
from claude_run.wire_sessions import EVENT_DATA
from doubles.git_server import GitServer, serve_git
from servers import last_request, recorded, say, scenario, use
from session_calls import Caller, Told, bearer, gateway_behind_iam

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("sessions")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the gateways of this module keep their state."""
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """octo/hello, with a branch beside main."""
    with serve_git(tmp_path_factory.mktemp("git")) as server:
        origin = server.create("octo/hello")
        origin.write("README.md", "# Main\n")
        origin.commit("First")
        origin.publish()
        yield server


@pytest.fixture(scope="module")
def gateways(
    model: servers.Server, runner: servers.Server, folder: Path
) -> Iterator[tuple[servers.Server, servers.Server]]:
    """Two processes on one store, each with a runner of its own."""
    with ExitStack() as stack:
        second = stack.enter_context(servers.running_runner(model.url))
        yield (
            stack.enter_context(gateway_behind_iam(runner.url, folder)),
            stack.enter_context(gateway_behind_iam(second.url, folder)),
        )


@pytest.fixture
def caller(gateways: tuple[servers.Server, servers.Server]) -> Caller:
    """Somebody who has called nobody yet, at the first gateway."""
    return Caller(gateways[0].url, bearer(uuid4().hex))


@pytest.fixture
def elsewhere(caller: Caller, gateways: tuple[servers.Server, servers.Server]) -> Caller:
    """The same caller at the second gateway."""
    return caller.at(gateways[1].url)


def check_log(told: Told) -> None:
    """Ids and times rise, and every event is as the API's description has it."""
    ids = [event.id for event in told.events]
    assert ids == sorted(set(ids))
    times = [datetime.fromisoformat(event.data["timestamp"]) for event in told.events]
    assert times == sorted(times)
    for event in told.events:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.data["timestamp"])
        EVENT_DATA[event.name].model_validate_json(json.dumps(event.data))


def test_a_session_from_connected_to_complete(caller: Caller) -> None:
    """The page's events in their order, with what they say; then it is `completed`."""
    told = caller.start(
        scenario(use("Write", file_path="{{cwd}}/a.txt", content="a"), say("Written. It is done.")),
    )
    assert told.status == 200
    assert told.headers["content-type"].startswith("text/event-stream")
    assert told.body.startswith(b": ")
    check_log(told)
    assert told.names[:2] == ["connected", "claude_start"]
    assert told.names[-2:] == ["claude_end", "complete"]
    for earlier, later in (("tool_use", "tool_result"), ("tool_result", "claude_delta")):
        assert told.names.index(earlier) < told.names.index(later)
    assert told.text == "Written. It is done."
    assert told.of("connected")[0].data["sessionId"] == told.session_id
    assert len(told.of("claude_start")[0].data["prompt"]) == 200
    assert told.of("tool_use")[0].data["name"] == "Write"
    assert told.of("tool_use")[0].data["id"] == told.of("tool_result")[0].data["id"]
    changes = told.of("file_change")
    assert [file for event in changes for file in event.data["files"]] == [
        {"path": "a.txt", "status": "added"}
    ]
    assert changes[0].data["workspaceDir"].startswith("/tmp/ws-")
    complete = told.last.data
    assert complete["result"] == "Written. It is done."
    assert complete["turns"] == 1
    assert complete["usage"]["inputTokens"] > 0
    assert complete["usage"]["costUsd"] > 0
    shown = caller.get(told.session_id).json
    assert shown == caller.ask("GET", f"/interactive/status?sessionId={told.session_id}").json
    assert shown["status"] == "completed"
    assert shown["currentTurn"] == 1
    assert shown["createdAt"] <= shown["completedAt"] == shown["lastActivityAt"]
    assert shown["usage"] == complete["usage"]


def test_the_log_is_the_same_from_everywhere(caller: Caller, elsewhere: Caller) -> None:
    """Byte by byte; behind its last event there is nothing: 204."""
    told = caller.start(scenario(say("word " * 50, chunk_size=5)))
    frames = told.body.partition(b"\n\n")[2]
    for at in (caller, elsewhere):
        assert at.events(told.session_id).body.partition(b"\n\n")[2] == frames
        for event in told.events[:-1]:
            again = at.events(told.session_id, event.id)
            assert [found.id for found in again.events] == [
                found.id for found in told.events if found.id > event.id
            ]
        assert at.events(told.session_id, told.last.id).status == 204
        assert at.events(told.session_id, 2**63 - 1).status == 204


@pytest.mark.parametrize("header", ["x", "-1", "1.5", "1 2", "1e3", "9" * 19, "1" * 40, "٣"])
def test_a_malformed_last_event_id(caller: Caller, header: str) -> None:
    """400, in the page's envelope, whether or not there is such a session."""
    answer = caller.ask("GET", "/interactive/x/events", **{"Last-Event-ID": header.encode()})  # type: ignore[arg-type]
    assert answer.status == 400
    assert set(answer.json) == {"error", "message", "timestamp"}
    assert answer.json["error"] == "VALIDATION_ERROR"
    assert "Last-Event-ID" in answer.json["message"]


def test_a_message_remembers_elsewhere(
    caller: Caller, elsewhere: Caller, model: servers.Server
) -> None:
    """Another gateway and another runner know what was said, and what was changed."""
    mark = uuid4().hex
    first = caller.start(
        f"{mark} "
        + scenario(
            use("Write", file_path="{{cwd}}/a.txt", content=f"content-{mark}"),
            use("Bash", command="mkdir -p sub; echo b > sub/b.txt"),
            say("The password is swordfish."),
        ),
        options={"allowedTools": ["Write", "Bash", "Read"]},
    )
    assert first.last.name == "complete"
    second = elsewhere.message(
        first.session_id,
        scenario(
            use("Bash", command="cat a.txt sub/b.txt; rm a.txt"), say("It held {{last_result}}")
        ),
    )
    check_log(second)
    assert (
        f"content-{mark}\nb" in second.text.replace("\r", "") or f"content-{mark}b" in second.text
    )
    assert second.names[0] == "claude_start"
    assert "connected" not in second.names
    assert {event.data["turn"] for event in second.events if "turn" in event.data} == {2}
    assert second.events[0].id > first.last.id
    asked = json.dumps(last_request(model, mark))
    assert "The password is swordfish." in asked
    third = caller.message(
        first.session_id, scenario(use("Bash", command="ls -R"), say("{{last_result}}"))
    )
    assert "a.txt" not in third.text
    assert "b.txt" in third.text
    shown = caller.get(first.session_id).json
    assert shown["currentTurn"] == 3
    assert shown["status"] == "completed"
    usages = [told.last.data["usage"] for told in (first, second, third)]
    assert [usage["inputTokens"] for usage in usages] == sorted(u["inputTokens"] for u in usages)
    whole = elsewhere.events(first.session_id)
    check_log(whole)
    assert whole.events == [*first.events, *second.events, *third.events]
    assert whole.names.count("connected") == 1


def test_options_have_their_effect(caller: Caller, model: servers.Server) -> None:
    """Each of a session's options, also in the next turn, unless that names its own."""
    mark = uuid4().hex
    told = caller.start(
        f"{mark} {scenario(say('Yes.'))}",
        options={
            "model": "claude-haiku-4-5",
            "appendSystemPrompt": f"Mind {mark}.",
            "allowedTools": ["Read", "Bash"],
            "disallowedTools": ["Bash"],
        },
    )
    asked = last_request(model, mark)
    assert asked["model"].startswith("claude-haiku-4-5")
    assert f"Mind {mark}." in json.dumps(asked["system"])
    names = {tool["name"] for tool in asked["tools"]}
    assert "Read" in names
    assert not names & {"Bash", "Write"}
    caller.message(told.session_id, f"again-{mark}", options={"maxTurns": 3})
    again = last_request(model, f"again-{mark}")
    assert f"Mind {mark}." in json.dumps(again["system"])
    assert again["model"] == asked["model"]
    assert {tool["name"] for tool in again["tools"]} <= names


def test_the_mode_is_as_asked(caller: Caller) -> None:
    """`permissionMode`: a session that plans writes nothing, turn for turn, until told to."""
    writing = scenario(use("Write", file_path="{{cwd}}/a.txt", content="a"), say("So."))
    told = caller.start(writing, options={"permissionMode": "plan"})
    assert told.of("tool_result")[0].data["isError"] is True
    assert not told.of("file_change")
    assert not caller.message(told.session_id, writing).of("file_change")
    told = caller.message(told.session_id, writing, options={"permissionMode": "acceptEdits"})
    assert told.of("file_change")[0].data["files"] == [{"path": "a.txt", "status": "added"}]


def test_turns_of_the_agent_are_limited(caller: Caller) -> None:
    """`maxTurns`: 10 unless said; the end is an error of its own, the session goes on."""
    turns = [use("Bash", command=f"echo {number}") for number in range(12)]
    told = caller.start(scenario(*turns), options={"maxTurns": 2, "allowedTools": ["Bash"]})
    assert told.last.name == "error"
    assert told.last.data["code"] == "MAX_TURNS"
    assert len(told.of("tool_use")) == 2
    shown = caller.get(told.session_id).json
    assert shown["status"] == "error"
    assert shown["errorMessage"] == told.last.data["message"]
    usual = caller.start(scenario(*turns), options={"allowedTools": ["Bash"]})
    assert usual.last.data["code"] == "MAX_TURNS"
    assert len(usual.of("tool_use")) == 10
    assert caller.message(told.session_id, scenario(say("On."))).last.name == "complete"


def test_time_and_money_are_limited(caller: Caller) -> None:
    """`timeoutMinutes` and `maxBudgetUsd`."""
    slow = scenario(say("abcdefgh", chunk_size=1, delay_ms=4000))
    told = caller.start(slow, options={"timeoutMinutes": 0.03})
    assert told.last.data["code"] == "TIMEOUT"
    dear = {**use("Bash", command="echo"), "usage": {"input_tokens": 900_000, "output_tokens": 1}}
    told = caller.start(
        scenario(dear, say("More.")), options={"maxBudgetUsd": 0.5, "allowedTools": ["Bash"]}
    )
    assert told.last.data["code"] in ("BUDGET_EXCEEDED", "QUOTA_EXCEEDED")
    assert "More." not in told.text


def test_a_session_of_the_callers_name(caller: Caller) -> None:
    """`sessionId`: taken once; taken again, 409; a word of the routes, never."""
    name = f"mine-{uuid4().hex}"
    assert caller.start(scenario(say("Hi")), sessionId=name).session_id == name
    again = caller.start("Hi", sessionId=name)
    assert (again.status, again.json["error"]) == (409, "CONFLICT")
    for wrong in ("start", "status", "a b", "a/b", "", "x" * 65, "\u00e9"):
        assert caller.start("Hi", sessionId=wrong).status == 400


def test_a_running_session_takes_no_message(caller: Caller, elsewhere: Caller) -> None:
    """409 on whichever instance, with nothing begun; 200 for a DELETE, again and again."""
    with caller.starting(scenario(say("abcdefgh" * 20, chunk_size=1, delay_ms=200))) as stream:
        stream.until("claude_delta")
        for at in (caller, elsewhere):
            answer = at.message(stream.session_id, "Hi")
            assert (answer.status, answer.json["error"]) == (409, "CONFLICT")
            assert at.get(stream.session_id).json["status"] == "processing"
        assert caller.delete(stream.session_id).status == 200
        assert stream.rest()[-1].data["code"] == "CANCELLED"
    before = caller.get(stream.session_id).json
    assert before["status"] == "cancelled"
    for at in (elsewhere, caller):
        answer = at.delete(stream.session_id)
        assert (answer.status, answer.json) == (200, before)
    assert caller.events(stream.session_id).events == stream.seen
    assert elsewhere.message(stream.session_id, scenario(say("On."))).text == "On."


def test_a_repository_is_worked_on(
    caller: Caller, elsewhere: Caller, git_server: GitServer
) -> None:
    """`repository`: cloned, shown, and kept for the next turn with what was changed in it."""
    repository = {"url": git_server.url("octo/hello"), "branch": "main"}
    tools = {"allowedTools": ["Bash"]}
    told = caller.start(
        scenario(
            use("Bash", command="cat README.md; echo more >> README.md"), say("{{last_result}}")
        ),
        repository=repository,
        options=tools,
    )
    assert told.text.startswith("# Main")
    assert [f for event in told.of("file_change") for f in event.data["files"]] == [
        {"path": "README.md", "status": "modified"}
    ]
    assert caller.get(told.session_id).json["repository"] == repository
    again = elsewhere.message(
        told.session_id,
        scenario(use("Bash", command="cat README.md; git status --short"), say("{{last_result}}")),
    )
    assert "# Main" in again.text
    assert "more" in again.text
    missing = caller.start("Hi", repository={"url": git_server.url("octo/none")})
    assert missing.last.data["code"] == "CLONE_FAILED"


def kept_in(folder: Path) -> bytes:
    """Every byte that a gateway keeps: its files, and all documents as they are read back."""
    parts = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    with sqlite3.connect(f"file:{folder}/gateway.db?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT * FROM documents").fetchall()
    connection.close()
    return b"".join(parts) + repr(rows).encode()


def secrets_of_a_session(
    caller: Caller, git_server: GitServer, mark: str
) -> tuple[dict[str, Any], Told]:
    """A session and a message with a caller's own key and token."""
    own = {"anthropicApiKey": f"sk-own-key-{mark}", "githubToken": f"ghs_own.token-{mark}"}
    told = caller.start(
        f"{mark} {scenario(say('Hi'))}",
        repository={"url": git_server.url("octo/hello")},
        **own,
    )
    caller.message(told.session_id, f"{mark} {scenario(say('Hi'))}", **own)
    return own, told


def test_a_callers_key_is_used_and_not_kept(
    caller: Caller,
    model: servers.Server,
    gateways: tuple[servers.Server, servers.Server],
    folder: Path,
    git_server: GitServer,
) -> None:
    """It reaches the model in both turns; no file and no log of the gateway has it."""
    mark = uuid4().hex
    own, told = secrets_of_a_session(caller, git_server, mark)
    assert told.last.name == "complete"
    asked = recorded(model, mark)
    assert len(asked) >= 2
    for request in asked:
        assert own["anthropicApiKey"] in json.dumps(request["headers"])
    everything = kept_in(folder) + "".join(gateway.log() for gateway in gateways).encode()
    assert told.session_id.encode() in everything
    for secret in own.values():
        assert secret.encode() not in everything
    # The next turn, which brings none, has none of it.
    caller.message(told.session_id, f"third-{mark}")
    assert own["anthropicApiKey"] not in json.dumps(recorded(model, f"third-{mark}")[-1]["headers"])


def test_the_search_finds_a_key_that_is_kept(
    runner: servers.Server, tmp_path: Path, git_server: GitServer
) -> None:
    """Kept with the options, it is found."""
    with gateway_behind_iam(runner.url, tmp_path, weak=["kept-key"]) as gateway:
        caller = Caller(gateway.url, bearer("a"))
        own, _ = secrets_of_a_session(caller, git_server, uuid4().hex)
        assert own["anthropicApiKey"].encode() in kept_in(tmp_path)


def seen_by_another(owner: Caller, other: Caller) -> list[int]:
    """What somebody else is answered about a session, by every route that names it."""
    told = owner.start(scenario(say("Mine.")), sessionId=f"shared-{uuid4().hex}")
    name = told.session_id
    return [
        other.get(name).status,
        other.ask("GET", f"/interactive/status?sessionId={name}").status,
        other.events(name).status,
        other.events(name, told.last.id).status,
        other.message(name, scenario(say("Theirs."))).status,
        other.delete(name).status,
    ]


def test_two_owners_do_not_see_each_other(
    caller: Caller, elsewhere: Caller, gateways: tuple[servers.Server, servers.Server]
) -> None:
    """404, as for a session that never was; and both may use the same name."""
    others = Caller(gateways[1].url, bearer(uuid4().hex))
    assert seen_by_another(caller, others) == [404] * 6
    first, second = (
        (caller.start(scenario(say("Mine.")), sessionId="same") for _ in range(1)),
        (others.start(scenario(say("Theirs.")), sessionId="same") for _ in range(1)),
    )
    assert [told.text for told in (*first, *second)] == ["Mine.", "Theirs."]
    assert caller.events("same").text == elsewhere.events("same").text == "Mine."
    assert others.events("same").text == "Theirs."
    mine = {session["sessionId"] for session in caller.ask("GET", "/interactive").json["sessions"]}
    assert len(mine) == 2
    theirs = others.ask("GET", "/interactive").json["sessions"]
    assert [session["sessionId"] for session in theirs] == ["same"]


def test_without_owners_in_its_name_a_session_is_anybodys(
    runner: servers.Server, tmp_path: Path
) -> None:
    """The test above sees that."""
    with gateway_behind_iam(runner.url, tmp_path, weak=["common"]) as gateway:
        owner, other = (Caller(gateway.url, bearer(sub)) for sub in ("a", "b"))
        assert 404 not in seen_by_another(owner, other)


def test_a_list_in_pages(caller: Caller, elsewhere: Caller) -> None:
    """Newest first, every session on one page only; a page's size is checked."""
    names = [caller.start(scenario(say("Hi"))).session_id for _ in range(3)]
    found, token = [], ""
    while True:
        page = elsewhere.ask("GET", f"/interactive?limit=2{token}").json
        assert len(page["sessions"]) <= 2
        found += [session["sessionId"] for session in page["sessions"]]
        if page["nextPageToken"] is None:
            break
        token = f"&pageToken={page['nextPageToken']}"
    assert found == names[::-1]
    for wrong in ("limit=0", "limit=101", "limit=x", "pageToken=x", "limit=1&limit=2", "x=1"):
        assert caller.ask("GET", f"/interactive?{wrong}").status == 400


def test_a_session_that_is_not_there(caller: Caller) -> None:
    """404 by every route, in the page's envelope; a method it has not is 405."""
    for method, path, body in (
        ("GET", "/interactive/none", None),
        ("GET", "/interactive/none/events", None),
        ("GET", "/interactive/status?sessionId=none", None),
        ("POST", "/interactive/none/message", {"prompt": "Hi"}),
        ("DELETE", "/interactive/none", None),
        ("GET", "/interactive/" + "x" * 65, None),
    ):
        answer = caller.ask(method, path, body)
        assert answer.status == 404, path
        assert set(answer.json) == {"error", "message", "timestamp"}
        assert answer.headers["x-request-id"]
    assert caller.ask("PUT", "/interactive/none").status == 405
    assert caller.ask("GET", "/interactive/start").status == 405


def test_calls_are_limited(runner: servers.Server, tmp_path: Path) -> None:
    """The page's headers count down; at 0 it is 429 with `Retry-After`, for this caller alone."""
    limits = {"RATE_LIMIT_PER_MINUTE": "5"}
    with gateway_behind_iam(runner.url, tmp_path, **limits) as gateway:
        caller, other = (Caller(gateway.url, bearer(sub)) for sub in ("a", "b"))
        answers = [caller.get("none") for _ in range(11)]
        # A minute may have begun in between: at most one.
        passed = [answer for answer in answers if answer.status == 404]
        refused = [answer for answer in answers if answer.status == 429]
        assert len(passed) in range(5, 11)
        assert len(passed) + len(refused) == 11
        for answer in answers:
            assert answer.headers["x-ratelimit-limit"] == "5"
            assert int(answer.headers["x-ratelimit-reset"]) % 60 == 0
        assert answers[0].headers["x-ratelimit-remaining"] == "4"
        for answer in refused:
            assert answer.json["error"] == "RATE_LIMIT_EXCEEDED"
            assert answer.headers["x-ratelimit-remaining"] == "0"
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert other.get("none").status == 404


def test_sessions_at_once_are_limited(
    model: servers.Server, runner: servers.Server, tmp_path: Path
) -> None:
    """Of six that race for two slots two start, the others leave no trace; a slot comes back."""
    quota = {"MAX_CONCURRENT_SESSIONS": "2"}
    mark = uuid4().hex
    slow = f"{mark} {scenario(say('abcdefgh', chunk_size=1, delay_ms=400))}"
    with gateway_behind_iam(runner.url, tmp_path, **quota) as gateway:
        caller = Caller(gateway.url, bearer("a"))
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: caller.start(slow), range(6)))
        refused = [answer for answer in answers if answer.status == 429]
        assert len(refused) == 4
        for answer in refused:
            assert answer.json["error"] == "QUOTA_EXCEEDED"
            assert int(answer.headers["retry-after"]) >= 1
        assert [a.last.name for a in answers if a.status == 200] == ["complete"] * 2
        assert len(caller.ask("GET", "/interactive").json["sessions"]) == 2
        assert caller.start(scenario(say("Again."))).text == "Again."
    conversations = {
        request["headers"].get("x-claude-code-session-id", "") for request in recorded(model, mark)
    }
    assert len(conversations) <= 2


def test_a_day_that_is_used_up(runner: servers.Server, tmp_path: Path) -> None:
    """The day's tokens: a session is stopped at what is left, and then none begins."""
    quota = {"MAX_DAILY_TOKENS": "1000"}
    much = {**use("Bash", command="sleep 2"), "usage": {"input_tokens": 2000, "output_tokens": 1}}
    with gateway_behind_iam(runner.url, tmp_path, **quota) as gateway:
        caller = Caller(gateway.url, bearer("a"))
        told = caller.start(scenario(much, say("More.")), options={"allowedTools": ["Bash"]})
        assert told.last.data["code"] == "QUOTA_EXCEEDED"
        assert "More." not in told.text
        refused = caller.start("Hi", sessionId="late")
        assert (refused.status, refused.json["error"]) == (429, "QUOTA_EXCEEDED")
        assert caller.get("late").status == 404
        # Who pays for the model is not held back by what the deployment has used.
        assert (
            caller.start(scenario(say("Hi")), anthropicApiKey="sk-own-key-0123").last.name
            == "complete"
        )
