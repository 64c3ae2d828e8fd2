"""The models of `POST /run`: every field with every kind of wrong value, and the way out."""

import base64
import json
from typing import Any

import pytest

from claude_run.errors import CallerError, Code
from claude_run.wire import (
    MAX_FILES,
    MAX_PROMPT,
    MAX_SYSTEM_PROMPT,
    FileChange,
    Resume,
    RunRequest,
    build_run_request,
    check_relative_path,
    parse_run_request,
)

SECRET = "sk-ant-planted-0123456789"
SESSION = "0b1c2d3e-0000-4000-8000-00000000000a"
COMMIT = "a" * 40
EVERYTHING: dict[str, Any] = {
    "prompt": "Say hello",
    "systemPrompt": "You are brief",
    "appendSystemPrompt": "and kind",
    "allowedTools": ["Read", "Bash(git *)", "mcp__server__*"],
    "disallowedTools": ["WebFetch"],
    "permissionMode": "plan",
    "mcpConfigJson": {
        "mcpServers": {
            "one": {"command": "server", "args": ["--x"], "env": {"TOKEN": SECRET}},
            "two": {
                "type": "http",
                "url": "https://mcp.test/",
                "headers": {"Authorization": SECRET},
            },
        }
    },
    "maxTurns": 3,
    "model": "claude-sonnet-4-5",
    "fallbackModel": "claude-haiku-4-5",
    "useNamedPipe": False,
    "timeoutMinutes": 0.5,
    "anthropicApiKey": SECRET,
    "anthropicBaseUrl": "https://api.anthropic.com",
    "repository": {
        "url": "https://github.com/o/r",
        "name": "o/r",
        "branch": "feature/x",
        "commit": COMMIT,
    },
    "githubToken": SECRET,
    "maxBudgetUsd": 1.5,
    "outputSchema": {"type": "object"},
    "resume": {
        "sessionId": SESSION,
        "transcript": [{"path": "a/b.jsonl", "entries": ['{"type":"user"}']}],
    },
    "changes": {
        "base": COMMIT,
        "files": [
            {"path": "a.txt", "mode": "100644", "content": "YQ=="},
            {"pathBase64": "/2E=", "mode": "120000", "content": "YS50eHQ="},
            {"path": "gone", "deleted": True},
        ],
    },
    "wantTranscript": True,
}


def body(**fields: object) -> bytes:
    return json.dumps({"prompt": "x", **fields}).encode()


def refused(raw: bytes) -> CallerError:
    with pytest.raises(CallerError) as caught:
        parse_run_request(raw)
    error = caught.value
    assert error.code is Code.VALIDATION_ERROR
    assert error.message == f"{error.details['field']}: {error.details['rule']}"
    shown = f"{error!r} {error} {error.details} {error.__cause__!r}"
    assert SECRET not in shown
    assert len(shown) < 2_000
    return error


def test_every_field_is_read_and_goes_out_again_as_it_came() -> None:
    """The client sends what the server reads: nothing is lost, renamed or added."""
    request = parse_run_request(json.dumps(EVERYTHING).encode())
    assert request.to_json() == EVERYTHING
    assert parse_run_request(json.dumps(request.to_json()).encode()) == request


def test_defaults_are_the_references() -> None:
    """Six turns, ten minutes, a named pipe; and what was not set is not sent."""
    request = parse_run_request(body())
    assert (request.max_turns, request.timeout_minutes, request.use_named_pipe) == (6, 10.0, True)
    assert request.permission_mode is None
    assert request.to_json() == {"prompt": "x"}


def test_secrets_are_not_shown() -> None:
    """Neither of a request nor of its parts, printed, logged or in an exception."""
    request = parse_run_request(json.dumps(EVERYTHING).encode())
    assert SECRET not in f"{request!r} {request}"
    assert SECRET in json.dumps(request.to_json())


# What each type refuses; `null` stands for "not given" wherever a field may be left out.
NOT_TEXT: tuple[object, ...] = (1, True, 1.5, [], {}, [SECRET])
NOT_BOOLEAN: tuple[object, ...] = (1, 0, "true", [], {}, None)
NOT_LIST: tuple[object, ...] = (1, True, SECRET, {}, {"a": SECRET})
NOT_OBJECT: tuple[object, ...] = (1, True, SECRET, [], [SECRET])
NOT_WHOLE: tuple[object, ...] = ("6", 6.5, 6.0, True, [], {}, None)
NOT_NUMBER: tuple[object, ...] = ("6", True, [], {}, SECRET)
WRONG_TYPES = {
    "prompt": (*NOT_TEXT, None),
    "systemPrompt": NOT_TEXT,
    "appendSystemPrompt": NOT_TEXT,
    "allowedTools": (*NOT_LIST, [1], [None], [["Read"]]),
    "disallowedTools": (*NOT_LIST, [1], [None]),
    "permissionMode": NOT_TEXT,
    "mcpConfigJson": NOT_OBJECT,
    "maxTurns": NOT_WHOLE,
    "model": NOT_TEXT,
    "fallbackModel": NOT_TEXT,
    "useNamedPipe": NOT_BOOLEAN,
    "timeoutMinutes": (*NOT_NUMBER, None),
    "anthropicApiKey": NOT_TEXT,
    "anthropicBaseUrl": NOT_TEXT,
    "repository": NOT_OBJECT,
    "githubToken": NOT_TEXT,
    "maxBudgetUsd": NOT_NUMBER,
    "outputSchema": NOT_OBJECT,
    "resume": NOT_OBJECT,
    "changes": NOT_OBJECT,
    "wantTranscript": NOT_BOOLEAN,
}


def test_the_tables_here_know_every_field() -> None:
    """A field that is added without its tests fails here."""
    names = {field.alias for field in RunRequest.model_fields.values()}
    assert set(WRONG_TYPES) == names == set(EVERYTHING)


@pytest.mark.parametrize(
    ("field", "value"), [(name, value) for name, wrong in WRONG_TYPES.items() for value in wrong]
)
def test_a_wrong_type_is_refused_by_the_fields_name(field: str, value: object) -> None:
    """Nothing is coerced: not "6", not 1 for true, not a string for a list."""
    assert str(refused(body(**{field: value})).details["field"]).split(".")[0] == field


BAD_VALUES: list[tuple[str, object]] = [
    ("prompt", ""),
    ("prompt", " \n\u2003"),
    ("prompt", SECRET + "x" * MAX_PROMPT),
    ("prompt", "\ud800" + SECRET),
    ("systemPrompt", ""),
    ("systemPrompt", " "),
    ("systemPrompt", "x" * (MAX_SYSTEM_PROMPT + 1)),
    ("appendSystemPrompt", "\t"),
    ("appendSystemPrompt", "x" * (MAX_SYSTEM_PROMPT + 1)),
    *[
        (field, [rule])
        for field in ("allowedTools", "disallowedTools")
        for rule in (
            "",
            " Read",
            "Read ",
            "Read\n",
            "--tools",
            "-p",
            "Bash(a)(b)",
            "Bash()",
            "Bash(a\nb)",
            "Bash(\x9b)",
            "Read,Write",
            "1",
            "Ré",
            SECRET + "!",
            "R" * 129,
            "Bash(" + "x" * 301 + ")",
        )
    ],
    ("allowedTools", ["Read"] * 201),
    ("disallowedTools", ["Read"] * 201),
    ("permissionMode", ""),
    ("permissionMode", "AcceptEdits"),
    ("permissionMode", SECRET),
    ("maxTurns", 0),
    ("maxTurns", -1),
    ("maxTurns", 1_001),
    ("maxTurns", 10**30),
    *[
        (field, value)
        for field in ("model", "fallbackModel")
        for value in ("", "-m", "--model", "a b", "a\n", "a;b", "x" * 129, "é")
    ],
    ("timeoutMinutes", 0),
    ("timeoutMinutes", -1),
    ("timeoutMinutes", 50.001),
    ("timeoutMinutes", 10**400),
    ("anthropicApiKey", ""),
    ("anthropicApiKey", "short"),
    ("anthropicApiKey", SECRET + "\r\nX-Evil: 1"),
    ("anthropicApiKey", SECRET + " "),
    ("anthropicApiKey", SECRET + "é"),
    ("anthropicApiKey", SECRET * 200),
    ("anthropicBaseUrl", ""),
    ("anthropicBaseUrl", "file:///etc/passwd"),
    ("anthropicBaseUrl", f"https://host/ {SECRET}"),
    ("anthropicBaseUrl", "https://host/\n"),
    ("anthropicBaseUrl", "https://" + "x" * 2_048),
    ("maxBudgetUsd", 0),
    ("maxBudgetUsd", -0.01),
    ("maxBudgetUsd", 10_000.01),
    ("outputSchema", {"a": "\ud800"}),
    ("outputSchema", {"\udfff": [SECRET]}),
    ("repository", {}),
    ("mcpConfigJson", {}),
    ("mcpConfigJson", {"mcp_servers": {}}),
    ("mcpConfigJson", {"mcpServers": {f"s{i}": {"command": "x"} for i in range(33)}}),
    ("resume", {}),
    ("changes", {}),
    ("changes", {"base": COMMIT}),
    ("changes", {"files": []}),
]


@pytest.mark.parametrize(("field", "value"), BAD_VALUES)
def test_a_bad_value_is_refused_by_the_fields_name(field: str, value: object) -> None:
    """Empty, blank, too long, out of range, of the wrong form: named, never repeated."""
    assert str(refused(body(**{field: value})).details["field"]).split(".")[0] == field


def test_a_token_needs_a_repository() -> None:
    """It would be sent along and never used."""
    assert refused(body(githubToken=SECRET)).details["field"] == "githubToken"
    assert parse_run_request(body(githubToken=SECRET, repository={"name": "o/r"}))
    bad = refused(body(githubToken=SECRET + "\n", repository={"name": "o/r"}))
    assert bad.details["field"] == "githubToken"


@pytest.mark.parametrize("name", ["promt", "max_turns", "PROMPT", "Prompt", "__class__", "", "é\n"])
def test_an_unknown_field_is_refused(name: str) -> None:
    """Also our own snake_case: one name each on the wire."""
    assert refused(body(**{name: SECRET})).details["field"] in (name, "body")


def test_a_missing_prompt_is_named() -> None:
    """The one field without which nothing is asked."""
    assert refused(b"{}").details["field"] == "prompt"


REPOSITORY: list[dict[str, object]] = [
    {"name": ""},
    {"name": "r"},
    {"name": "o/r/x"},
    {"name": "-o/r"},
    {"name": "o/.."},
    {"name": "o/."},
    {"name": "o/r\n"},
    {"name": "o" * 40 + "/r"},
    {"name": "o/" + "r" * 101},
    {"name": 1},
    {"url": "ssh://git@github.com/o/r"},
    {"url": "ext::sh -c id"},
    {"url": "-u/tmp"},
    {"url": "git@github.com:o/r"},
    {"name": "o/r", "branch": ""},
    {"name": "o/r", "branch": "-b"},
    {"name": "o/r", "branch": "a..b"},
    {"name": "o/r", "branch": "a//b"},
    {"name": "o/r", "branch": "a/.b"},
    {"name": "o/r", "branch": "a.lock/b"},
    {"name": "o/r", "branch": "a/"},
    {"name": "o/r", "branch": "a."},
    {"name": "o/r", "branch": "a@{1}"},
    {"name": "o/r", "branch": "a b"},
    {"name": "o/r", "branch": "a:b"},
    {"name": "o/r", "branch": "a" * 245},
    {"name": "o/r", "commit": "HEAD"},
    {"name": "o/r", "commit": "A" * 40},
    {"name": "o/r", "commit": "a" * 41},
    {"name": "o/r", "token": SECRET},
    {"branch": "main"},
]


@pytest.mark.parametrize("value", REPOSITORY)
def test_a_repository_that_git_could_misread_is_refused(value: dict[str, object]) -> None:
    """Options, transports, path tricks: named below `repository`."""
    assert str(refused(body(repository=value)).details["field"]).startswith("repository")


@pytest.mark.parametrize(
    ("server", "named"),
    [
        (3, "one"),
        ([], "one"),
        ({}, "one.stdio.command"),
        ({"command": ""}, "one.stdio.command"),
        ({"command": 1}, "one.stdio.command"),
        ({"command": "x" * 4_097}, "one.stdio.command"),
        ({"command": "x", "args": "y"}, "one.stdio.args"),
        ({"command": "x", "args": [1]}, "one.stdio.args.0"),
        ({"command": "x", "args": ["a"] * 257}, "one.stdio.args"),
        ({"command": "x", "env": {"A": 1}}, "one.stdio.env.A"),
        ({"command": "x", "env": {"A": [SECRET]}}, "one.stdio.env.A"),
        ({"command": "x", "url": SECRET}, "one.stdio.url"),
        ({"type": SECRET, "command": "x"}, "one.stdio.type"),
        ({"type": [], "command": "x"}, "one.stdio.type"),
        ({"type": "http"}, "one.remote.url"),
        ({"type": "http", "url": "ftp://x"}, "one.remote.url"),
        ({"type": "sse", "url": "https://x", "headers": {"A": 1}}, "one.remote.headers.A"),
        ({"type": "sse", "url": "https://x", "command": SECRET}, "one.remote.command"),
    ],
)
def test_an_mcp_server_is_refused_by_its_own_name(server: object, named: str) -> None:
    """Which server, which field; an `Authorization` header's value never shows."""
    field = refused(body(mcpConfigJson={"mcpServers": {"one": server}})).details["field"]
    assert str(field).startswith(f"mcpConfigJson.mcpServers.{named}")


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a\n", "é", "x" * 65])
def test_an_mcp_servers_name_follows_the_pattern(name: str) -> None:
    """It becomes part of tool names, which stand on a command line."""
    refused(body(mcpConfigJson={"mcpServers": {name: {"command": "x"}}}))


RESUME: list[tuple[object, object]] = [
    ("", [{"path": "a.jsonl", "entries": []}]),
    (SESSION.upper(), [{"path": "a.jsonl", "entries": []}]),
    (SESSION.replace("-", ""), [{"path": "a.jsonl", "entries": []}]),
    ("../../etc", [{"path": "a.jsonl", "entries": []}]),
    (SESSION, []),
    (SESSION, [{"path": "../a.jsonl", "entries": []}]),
    (SESSION, [{"path": "/a.jsonl", "entries": []}]),
    (SESSION, [{"path": "a.txt", "entries": []}]),
    (SESSION, [{"path": ".git/a.jsonl", "entries": []}]),
    (SESSION, [{"path": "a.jsonl", "entries": [""]}]),
    (SESSION, [{"path": "a.jsonl", "entries": [{}]}]),
    (SESSION, [{"path": "a.jsonl"}]),
]


@pytest.mark.parametrize(("session", "transcript"), RESUME)
def test_a_resume_that_leaves_its_folder_is_refused(session: object, transcript: object) -> None:
    """Session ids and paths become file names."""
    error = refused(body(resume={"sessionId": session, "transcript": transcript}))
    assert str(error.details["field"]).startswith("resume")


FILES: list[dict[str, object]] = [
    {},
    {"path": "a"},
    {"path": "", "mode": "100644", "content": ""},
    {"path": "a", "mode": "100644"},
    {"path": "a", "content": ""},
    {"path": "a", "pathBase64": "YQ==", "mode": "100644", "content": ""},
    {"path": "a", "mode": "100600", "content": ""},
    {"path": "a", "mode": 33188, "content": ""},
    {"path": "a", "mode": "160000", "content": ""},
    {"path": "a", "mode": "100644", "content": "!"},
    {"path": "a", "mode": "100644", "content": "é"},
    {"path": "a", "mode": "100644", "content": "YQ"},
    {"path": "a", "deleted": False},
    {"path": "a", "deleted": True, "content": ""},
    {"path": "a", "deleted": True, "mode": "100644"},
    {"path": "/a", "deleted": True},
    {"path": "../a", "deleted": True},
    {"path": "a/../../b", "deleted": True},
    {"path": "a//b", "deleted": True},
    {"path": "a/", "deleted": True},
    {"path": "./a", "deleted": True},
    {"path": "a\0", "deleted": True},
    {"path": ".git", "deleted": True},
    {"path": "a/.GIT/config", "deleted": True},
    {"path": "a" * 4_097, "deleted": True},
    {"pathBase64": "!", "deleted": True},
    {"pathBase64": base64.b64encode(b"../a").decode(), "deleted": True},
    {"pathBase64": base64.b64encode(b".git/x").decode(), "deleted": True},
]


@pytest.mark.parametrize("file", FILES)
def test_a_change_that_leaves_the_workspace_is_refused(file: dict[str, object]) -> None:
    """Named by its place in the list; its content is not repeated."""
    error = refused(body(changes={"base": None, "files": [file]}))
    assert str(error.details["field"]).startswith("changes.files.0")


def test_a_change_set_is_bounded_and_names_each_path_once() -> None:
    """Two entries for one path, in either spelling, have no defined outcome."""
    twice = [{"path": "a", "deleted": True}, {"pathBase64": "YQ==", "deleted": True}]
    assert "twice" in refused(body(changes={"base": None, "files": twice})).message
    many = [{"path": f"f{i}", "deleted": True} for i in range(MAX_FILES + 1)]
    assert refused(body(changes={"base": None, "files": many})).details["field"] == "changes.files"
    assert refused(body(changes={"base": "main", "files": []})).details["field"] == "changes.base"


def test_a_file_change_gives_bytes() -> None:
    """Names that are no UTF-8 and binary content come back exactly."""
    change = FileChange(path_base64="/2E=", mode="100755", content="AP8=")
    assert (change.raw_path, change.raw_content) == (b"\xffa", b"\0\xff")
    assert FileChange(path="é", deleted=True).raw_content == b""


@pytest.mark.parametrize("path", [b"a", b".gitignore", b"a/.github/x", b"...", b"\xff", b"a b\n"])
def test_ordinary_paths_are_allowed(path: bytes) -> None:
    """Only `.git` itself is the repository's own."""
    check_relative_path(path)


def test_python_callers_may_use_either_case() -> None:
    """`max_turns=2` and the reference's `maxTurns=2` build the same request."""
    options: dict[str, object] = {
        "max_turns": 2,
        "permission_mode": "plan",
        "repository": {"name": "o/r"},
        "anthropic_api_key": SECRET,
        "resume": Resume.model_validate(EVERYTHING["resume"]),
    }
    request = build_run_request("x", options)
    assert build_run_request("x", request.to_json() | {"prompt": "x"}) == request
    assert request.to_json()["maxTurns"] == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("outputSchema", {"a": float("nan")}),
        ("outputSchema", {"a": {1, 2}}),
        ("timeoutMinutes", float("nan")),
        ("timeoutMinutes", float("inf")),
        ("maxBudgetUsd", float("inf")),
        ("unknown", SECRET),
        ("prompt", ""),
    ],
)
def test_what_only_python_can_say_is_refused_as_well(field: str, value: object) -> None:
    """NaN and sets never reach the wire; the error is the same kind as the server's."""
    with pytest.raises(CallerError, match=field) as caught:
        build_run_request("x", {field: value})
    assert caught.value.details["field"] == field
    assert SECRET not in str(caught.value)
