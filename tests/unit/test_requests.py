"""What callers may ask of the gateway: every field, every refusal, and what the runner is told."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from claude_run.errors import CallerError, Code
from claude_run.wire import PermissionMode, RunRequest, build_run_request
from claude_run.wire_sessions import (
    MessageRequest,
    SessionList,
    SessionOptions,
    SessionView,
    StartRequest,
)
from gateway.paging import page_token
from gateway.requests import (
    DEFAULT_PAGE,
    MAX_EVENT_ID,
    ListQuery,
    parse_last_event_id,
    parse_list,
    parse_message,
    parse_session_id,
    parse_start,
    parse_status,
    to_run_options,
)
from gateway.store import Cursor

SECRET = "sk-ant-planted-0123456789"
RUN_SESSION = "0b1c2d3e-0000-4000-8000-00000000000a"
OPTIONS: dict[str, Any] = {
    "maxTurns": 3,
    "permissionMode": "plan",
    "maxBudgetUsd": 1.5,
    "timeoutMinutes": 0.5,
    "model": "claude-sonnet-4-5",
    "allowedTools": ["Read", "Bash(git *)"],
    "disallowedTools": ["WebFetch"],
    "appendSystemPrompt": "Be kind.",
}
EVERYTHING: dict[str, Any] = {
    "sessionId": "my-session_1",
    "prompt": "Say hello",
    "repository": {"url": "https://github.com/o/r", "name": "o/r", "branch": "main"},
    "anthropicApiKey": SECRET,
    "anthropicBaseUrl": "https://api.anthropic.com",
    "githubToken": SECRET,
    "options": OPTIONS | {"createPR": False, "detach": False},
}


def start(**fields: object) -> StartRequest:
    return parse_start(json.dumps({"prompt": "x", **fields}).encode())


def message(**fields: object) -> MessageRequest:
    return parse_message(json.dumps({"prompt": "x", **fields}).encode())


def refusal(work: Callable[[], object]) -> CallerError:
    with pytest.raises(CallerError) as caught:
        work()
    error = caught.value
    assert SECRET not in f"{error!r} {error} {error.details} {error.__cause__!r}"
    return error


def field_of(work: Callable[[], object]) -> object:
    """The field that a refusal names."""
    error = refusal(work)
    assert error.code is Code.VALIDATION_ERROR
    assert str(error.details["rule"]) in error.message
    return error.details["field"]


def options_of(
    request: StartRequest | MessageRequest,
    *,
    earlier: dict[str, Any] | None = None,
    repository: dict[str, Any] | None = None,
    resume: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None,
) -> RunRequest:
    """The run that a request becomes, as the runner's client checks it."""
    given = to_run_options(
        request, earlier=earlier or {}, repository=repository, resume=resume, changes=changes
    )
    return build_run_request(request.prompt, given)


# --- requests ------------------------------------------------------------------------------------


def test_every_field_is_read_and_goes_out_again_as_it_came() -> None:
    """The SDK sends what the gateway reads: nothing is lost, renamed or added."""
    request = parse_start(json.dumps(EVERYTHING).encode())
    assert request.to_json() == EVERYTHING
    assert parse_start(json.dumps(request.to_json()).encode()) == request


def test_the_pages_example_is_accepted() -> None:
    """A repository by name alone, and no options."""
    request = start(repository={"name": "owner/repo"})
    assert request.public_repository() == {"name": "owner/repo"}
    assert request.to_json() == {"prompt": "x", "repository": {"name": "owner/repo"}}


def test_defaults_are_the_references() -> None:
    """Ten turns, edits accepted, no pull request, ten minutes."""
    options = start().options
    assert options == SessionOptions()
    assert (options.max_turns, options.permission_mode, options.create_pr, options.detach) == (
        10,
        PermissionMode.ACCEPT_EDITS,
        False,
        False,
    )
    assert options.timeout_minutes == 10.0


def test_secrets_are_neither_shown_nor_kept() -> None:
    """Not printed, not among what the session keeps; sent to the runner all the same."""
    request = parse_start(json.dumps(EVERYTHING).encode())
    assert SECRET not in f"{request!r} {request}"
    kept = json.dumps([request.kept_options(), request.public_repository()])
    assert SECRET not in kept
    given = to_run_options(request, earlier={}, repository=None, resume=None, changes=None)
    assert SECRET not in repr(given)
    sent = build_run_request("x", given).to_json()
    assert (sent["anthropicApiKey"], sent["githubToken"]) == (SECRET, SECRET)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("prompt", {"prompt": ""}),
    ("prompt", {"prompt": " \n"}),
    ("prompt", {"prompt": None}),
    ("prompt", {"prompt": 7}),
    ("prompt", {"prompt": "\ud800"}),
    ("prompt", {"prompt": "x" * 4_000_001}),
    ("unknown", {"unknown": 1}),
    ("session_id", {"session_id": "x"}),
    ("turn", {"turn": 2}),
    ("anthropicApiKey", {"anthropicApiKey": "short"}),
    ("anthropicApiKey", {"anthropicApiKey": SECRET + "\n"}),
    ("anthropicApiKey", {"anthropicApiKey": [SECRET]}),
    ("githubToken", {"githubToken": "é" * 20}),
    ("options", {"options": []}),
    ("options", {"options": None}),
    ("options.unknown", {"options": {"unknown": SECRET}}),
    ("options.createPr", {"options": {"createPr": True}}),
    ("options.createPR", {"options": {"createPR": "true"}}),
    ("options.detach", {"options": {"detach": 1}}),
    ("options.maxTurns", {"options": {"maxTurns": 0}}),
    ("options.maxTurns", {"options": {"maxTurns": -1}}),
    ("options.maxTurns", {"options": {"maxTurns": "10"}}),
    ("options.maxTurns", {"options": {"maxTurns": 1_001}}),
    ("options.maxTurns", {"options": {"maxTurns": True}}),
    ("options.permissionMode", {"options": {"permissionMode": "yolo"}}),
    ("options.maxBudgetUsd", {"options": {"maxBudgetUsd": 0}}),
    ("options.maxBudgetUsd", {"options": {"maxBudgetUsd": -1}}),
    ("options.timeoutMinutes", {"options": {"timeoutMinutes": 51}}),
    ("options.timeoutMinutes", {"options": {"timeoutMinutes": 0}}),
    ("options.model", {"options": {"model": "--version"}}),
    ("options.allowedTools.0", {"options": {"allowedTools": ["--x"]}}),
    ("options.allowedTools", {"options": {"allowedTools": "Read"}}),
    ("options.allowedTools", {"options": {"allowedTools": ["Read"] * 201}}),
    ("options.disallowedTools.1", {"options": {"disallowedTools": ["Read", "a,b"]}}),
    ("options.appendSystemPrompt", {"options": {"appendSystemPrompt": " "}}),
]
WRONG_AT_START: list[tuple[str, dict[str, Any]]] = [
    *[("sessionId", {"sessionId": name}) for name in ("", "start", "status", "a b", "x" * 65)],
    *[("sessionId", {"sessionId": name}) for name in ("é", "a/b", "a\n", "..", 7)],
    ("repository", {"repository": "owner/repo"}),
    ("repository", {"repository": {}}),
    ("repository.name", {"repository": {"name": "owner"}}),
    ("repository", {"repository": {"name": "owner/.."}}),
    ("repository", {"repository": {"name": "o/r", "branch": "a..b"}}),
    ("repository.url", {"repository": {"url": "file:///etc"}}),
    ("repository.url", {"repository": {"url": "ext::sh -c x"}}),
    ("repository.url", {"repository": {"url": f"https://x:{SECRET}@github.com/o/r"}}),
    ("githubToken", {"githubToken": SECRET}),
    ("anthropicBaseUrl", {"anthropicBaseUrl": "ftp://x"}),
    ("anthropicBaseUrl", {"anthropicBaseUrl": "https://[x"}),
    ("anthropicBaseUrl", {"anthropicBaseUrl": f"https://{SECRET}@api.anthropic.com"}),
]


@pytest.mark.parametrize(("field", "fields"), WRONG + WRONG_AT_START)
def test_a_wrong_start_is_refused_by_its_field(field: str, fields: dict[str, Any]) -> None:
    """Wrong kinds, out of range, unknown: 400 that names it, and no secret in what it says."""
    assert field_of(lambda: start(**fields)) == field


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        *WRONG,
        ("sessionId", {"sessionId": "x"}),
        ("repository", {"repository": {"name": "o/r"}}),
        ("anthropicBaseUrl", {"anthropicBaseUrl": "https://api.anthropic.com"}),
    ],
)
def test_a_wrong_message_is_refused_by_its_field(field: str, fields: dict[str, Any]) -> None:
    """The same; and what belongs to the session cannot be changed by a message."""
    assert field_of(lambda: message(**fields)) == field


@pytest.mark.parametrize("parse", [parse_start, parse_message])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'"x"',
        b"{",
        b"[" * 100_000,
        b'{"prompt":' + b"[" * 100_000,
        b'{"prompt":"a","prompt":"b"}',
        b'{"prompt":"x","options":{"maxBudgetUsd":NaN}}',
        b'{"prompt":"x","options":{"maxBudgetUsd":1e999}}',
        b'{"prompt":"\xff"}',
        b"\xef\xbb\xbf{}",
        '{"prompt":"x"}'.encode("utf-16"),
    ],
)
def test_a_body_that_is_no_object_is_refused(parse: Callable[[bytes], object], body: bytes) -> None:
    """As on `POST /run`."""
    assert field_of(lambda: parse(body)) == "body"


# --- what the runner is told ---------------------------------------------------------------------


def test_a_first_turn_carries_every_option() -> None:
    """By the names that `POST /run` has for them, with the transcript asked for."""
    request = parse_start(json.dumps(EVERYTHING).encode())
    assert options_of(request).to_json() == {
        **{name: EVERYTHING[name] for name in ("prompt", "repository", "githubToken")},
        **{name: EVERYTHING[name] for name in ("anthropicApiKey", "anthropicBaseUrl")},
        **OPTIONS,
        "wantTranscript": True,
    }


def test_a_plain_request_says_only_what_is_the_gateways_default() -> None:
    """The runner's own defaults differ; what was not named is not sent."""
    assert options_of(start()).to_json() == {
        "prompt": "x",
        "maxTurns": 10,
        "permissionMode": "acceptEdits",
        "timeoutMinutes": 10.0,
        "wantTranscript": True,
    }


def test_a_later_turn_goes_on_with_what_the_session_has() -> None:
    """Its repository, its options, its conversation, its files; the message's own words on top."""
    first = start(
        repository={"name": "o/r", "branch": "b"}, options={"maxTurns": 3, "model": "claude-a"}
    )
    kept, repository = first.kept_options(), first.public_repository()
    assert kept == {"maxTurns": 3, "model": "claude-a"}
    later = message(options={"model": "claude-b"}, githubToken=SECRET)
    resume = {
        "sessionId": RUN_SESSION,
        "transcript": [{"path": f"{RUN_SESSION}.jsonl", "entries": ['{"type":"user"}']}],
    }
    changes = {"base": "a" * 40, "files": [{"path": "gone", "deleted": True}]}
    # As a store would give them back.
    kept, repository = json.loads(json.dumps(kept)), json.loads(json.dumps(repository))
    run = options_of(later, earlier=kept, repository=repository, resume=resume, changes=changes)
    assert run.to_json() == {
        "prompt": "x",
        "maxTurns": 3,
        "permissionMode": "acceptEdits",
        "timeoutMinutes": 10.0,
        "model": "claude-b",
        "repository": {"name": "o/r", "branch": "b"},
        "githubToken": SECRET,
        "resume": resume,
        "changes": changes,
        "wantTranscript": True,
    }
    assert later.kept_options(kept) == {"maxTurns": 3, "model": "claude-b"}
    assert message().kept_options(kept) == kept
    assert message(options={"model": None}).kept_options(kept) == kept


def test_options_of_a_newer_version_are_passed_over() -> None:
    """A record that a newer gateway wrote can be continued by this one."""
    assert options_of(message(), earlier={"maxTurns": 2, "ofTheFuture": 1}).max_turns == 2


def test_a_token_without_a_repository_is_refused() -> None:
    """Of a message only the session knows whether there is one."""
    assert field_of(lambda: options_of(message(githubToken=SECRET))) == "githubToken"


def test_the_stored_key_goes_to_anthropic_only() -> None:
    """Another upstream needs the caller's own key, in every turn; the usual one does not."""
    elsewhere = "https://models.test"
    for work in (
        lambda: options_of(start(anthropicBaseUrl=elsewhere)),
        lambda: options_of(message(), earlier={"anthropicBaseUrl": elsewhere}),
    ):
        assert refusal(work).code is Code.NO_CREDENTIAL
    own = start(anthropicBaseUrl=elsewhere, anthropicApiKey=SECRET)
    assert own.own_key
    assert own.kept_options() == {"anthropicBaseUrl": elsewhere}
    assert options_of(own).anthropic_base_url == elsewhere
    later = message(anthropicApiKey=SECRET)
    run = options_of(later, earlier=own.kept_options())
    assert run.anthropic_base_url == elsewhere
    assert later.kept_options(own.kept_options()) == own.kept_options()
    usual = start(anthropicBaseUrl="https://api.anthropic.com/")
    assert not usual.own_key
    assert options_of(usual).anthropic_api_key is None


# --- paths, queries, headers ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "A-z_09", "x" * 64, "Start", "-"])
def test_a_session_may_be_called(name: str) -> None:
    """By 64 of these characters."""
    assert parse_session_id(name) == name
    assert parse_status({"sessionId": [name]}) == name
    assert start(sessionId=name).session_id == name


@pytest.mark.parametrize(
    "name", ["", "start", "status", "a b", "x" * 65, "é", "a\n", "a/b", "\u0661"]
)
def test_what_no_session_is_called_is_not_found(name: str) -> None:
    """In a path it is one that is not there; in a query the field is wrong."""
    assert refusal(lambda: parse_session_id(name)).code is Code.NOT_FOUND
    assert field_of(lambda: parse_status({"sessionId": [name]})) == "sessionId"


def test_a_query_names_one_session() -> None:
    """None, two, and what is no field are refused by name."""
    assert field_of(lambda: parse_status({})) == "sessionId"
    assert field_of(lambda: parse_status({"sessionId": ["a", "b"]})) == "sessionId"
    assert field_of(lambda: parse_status({"sessionId": ["a"], "x": ["1"]})) == "x"


def test_a_page_goes_on_where_the_last_one_ended() -> None:
    """Its token is the place of its last entry: its moment to the microsecond, and its id."""
    moment = datetime(2026, 11, 22, 4, 50, 44, 646_999, tzinfo=UTC)
    token = page_token(moment, "0f.my-Session_1")
    place = Cursor(id="0f.my-Session_1", value=moment)
    assert parse_list({"pageToken": [token], "limit": ["7"]}) == ListQuery(limit=7, after=place)
    assert parse_list({}) == ListQuery(limit=DEFAULT_PAGE, after=None)


@pytest.mark.parametrize(
    "limit", ["0", "101", "-1", "", "1.0", "x", "9" * 5_000, "\u0663", " 1", "1\n"]
)
def test_a_wrong_limit_is_refused(limit: str) -> None:
    """1 to 100, in decimal digits."""
    assert field_of(lambda: parse_list({"limit": [limit]})) == "limit"


PLACES = (
    b"1",
    b"1.",
    b".a",
    b"01.a",
    b"-1.a",
    b"1.a/b",
    b"1." + b"a" * 129,
    b"9" * 17 + b".a",
    b"1.\xff",
)
TOKEN = page_token(datetime(2026, 11, 22, tzinfo=UTC), "a")


@pytest.mark.parametrize(
    "token",
    ["", "x", "1795000000000000", f"{TOKEN}=", f"{TOKEN}\n", TOKEN[:-1], TOKEN + "A"]
    + ["A" * 257, "A" * 5_000, "\u0661"]
    + [base64.urlsafe_b64encode(place).rstrip(b"=").decode() for place in PLACES],
)
def test_a_wrong_page_token_is_refused(token: str) -> None:
    """Nobody but the gateway makes them."""
    assert field_of(lambda: parse_list({"pageToken": [token]})) == "pageToken"


def test_a_list_takes_no_other_field() -> None:
    """Unknown ones and doubled ones are named."""
    assert field_of(lambda: parse_list({"owner": ["x"]})) == "owner"
    assert field_of(lambda: parse_list({"limit": ["1", "2"]})) == "limit"
    assert field_of(lambda: parse_list({"x" * 9_000: ["1"]})) == "x" * 200


@pytest.mark.parametrize(
    ("header", "number"),
    [(None, 0), ("0", 0), ("007", 7), ("4097", 4_097), (str(MAX_EVENT_ID), MAX_EVENT_ID)],
)
def test_a_stream_goes_on_behind_an_event(header: str | None, number: int) -> None:
    """Its id as the client got it; without one, from the beginning."""
    assert parse_last_event_id(header) == number


@pytest.mark.parametrize(
    "header",
    ["", "x", "-1", "+1", "1.0", " 1", "1, 2", "1\n", "\u0663", "9" * 19, "9" * 5_000, "1_0"],
)
def test_a_malformed_event_id_is_refused(header: str) -> None:
    """Also two of them, and a number that no event has."""
    assert field_of(lambda: parse_last_event_id(header)) == "Last-Event-ID"


# --- answers -------------------------------------------------------------------------------------


def test_what_the_gateway_shows_is_what_the_sdk_reads() -> None:
    """The model of a session is the record's own view of itself."""
    from gateway.sessions.record import LEASE, Session, Status, Usage

    now = datetime(2026, 11, 22, tzinfo=UTC)
    session = Session(
        key="k",
        owner="o",
        session_id="s",
        status=Status.PROCESSING,
        turn=1,
        fence=1,
        lease_until=now + LEASE,
        created_at=now,
        last_activity_at=now,
        repository={"name": "o/r"},
    )
    ended = session.ended(CallerError("Gone"), usage=Usage(), last_event_id=9, now=now)
    for shown in (session.public(), ended.public()):
        view = SessionView.model_validate_json(json.dumps(shown))
        assert json.loads(view.model_dump_json(by_alias=True, exclude_none=True)) == shown
    page = {"sessions": [ended.public()], "nextPageToken": None}
    assert SessionList.model_validate_json(json.dumps(page)).sessions[0].error_message == "Gone"


def test_every_model_has_a_schema() -> None:
    """For `/openapi.json`: by the names of the wire, secrets as passwords."""
    from claude_run import wire_sessions

    for model in (
        StartRequest,
        MessageRequest,
        SessionView,
        SessionList,
        wire_sessions.ErrorAnswer,
    ):
        assert model.model_json_schema(by_alias=True)["type"] == "object"
    for data in wire_sessions.EVENT_DATA.values():
        assert "timestamp" in data.model_json_schema(by_alias=True)["required"]
    schema = StartRequest.model_json_schema(by_alias=True)
    assert "createPR" in schema["$defs"]["SessionOptions"]["properties"]
    assert schema["properties"]["anthropicApiKey"]["anyOf"][0]["format"] == "password"
