"""Which event a body is of, whatever the header says, and the fields that we use of it."""

import json
from typing import Any

import pytest

import github_events as gh
from claude_run.errors import CallerError
from gateway.github.payload import (
    MAX_TEXT_BYTES,
    Event,
    InstallationHappened,
    IssueCommented,
    IssueHappened,
    Ping,
    RepositoriesChanged,
    ReviewCommented,
    Reviewed,
    Unused,
    event_of,
    read,
)

OURS: dict[Event, tuple[gh.Json, type]] = {
    Event.ISSUES: (gh.opened(), IssueHappened),
    Event.ISSUE_COMMENT: (gh.commented("@claude"), IssueCommented),
    Event.REVIEW: (gh.reviewed("@claude"), Reviewed),
    Event.REVIEW_COMMENT: (gh.review_commented("@claude"), ReviewCommented),
    Event.INSTALLATION: (gh.installed("created", "one"), InstallationHappened),
    Event.INSTALLATION_REPOSITORIES: (gh.repositories_changed("added", "one"), RepositoriesChanged),
    Event.PING: (gh.PING, Ping),
}


@pytest.mark.parametrize("event", Event)
def test_the_body_says_which_event_it_is(event: Event) -> None:
    """By its keys; a header that names another is refused."""
    body, kind = OURS[event]
    assert isinstance(read(body, event), kind)
    for other in [*Event, "push", "pull_request"]:
        if other != event:
            with pytest.raises(CallerError, match="X-GitHub-Event"):
                read(body, other)


def test_no_other_event_is_taken_for_ours() -> None:
    """Every event and action that GitHub knows, each full of our name."""
    for name, action, body in gh.of_others():
        assert event_of(body) == (name if name in set(Event) else None)
        assert read(body, name) == Unused(event=name, action=action)
        if name not in set(Event):
            for forged in Event:
                with pytest.raises(CallerError, match="X-GitHub-Event"):
                    read(body, forged)


def test_an_app_that_brings_an_organisation_or_an_enterprise() -> None:
    """What surrounds an installation's own event does not make it another."""
    body = {**gh.installed("deleted"), "organization": {"id": 1}, "enterprise": {"id": 2}}
    assert event_of(body) is Event.INSTALLATION
    # GitHub's `github_app_authorization` of an App, and `installation_target`.
    assert event_of({"action": "revoked", "installation": {"id": 1}, "sender": {}}) is None
    assert event_of({**body, "account": {}, "changes": {}}) is None


def test_what_we_do_not_use_may_be_anything() -> None:
    """Fields that come, go or change do not stop us."""
    body = gh.opened()
    body["issue"] |= {"user": None, "milestone": [1], "reactions": "none", "type": 1}
    body["repository"] = {"id": 1, "full_name": "a_b/c", "default_branch": "a/b", "owner": None}
    body["new"] = {"deep": [[1]]}
    assert isinstance(read(body, "issues"), IssueHappened)


WRONG: tuple[tuple[str, Any], ...] = (
    ("issue", None),
    ("issue", []),
    ("issue.number", "7"),
    ("issue.number", 7.0),
    ("issue.number", True),
    ("issue.number", -1),
    ("issue.number", 2**63),
    ("issue.title", None),
    ("issue.title", 7),
    ("issue.title", "x" * 1025),
    ("issue.title", "\ud83d"),
    ("issue.body", 7),
    ("issue.body", "\ud83d"),
    ("issue.body", "x" * (MAX_TEXT_BYTES + 1)),
    ("issue.body", "日" * (MAX_TEXT_BYTES // 3 + 1)),
    ("issue.html_url", "javascript:alert(1)"),
    ("issue.html_url", "https://a b"),
    ("issue.labels", {}),
    ("issue.labels", [{"name": ""}]),
    ("issue.labels", [{"name": "x"}] * 201),
    ("issue.labels", [{"name": "x" * 257}]),
    ("issue.assignees", [{"login": "x"}] * 201),
    ("issue.assignees", [{"login": "x" * 257}]),
    ("repository", None),
    ("repository.id", "1"),
    ("repository.full_name", "octo"),
    ("repository.full_name", "octo/hello/more"),
    ("repository.full_name", "octo/he llo"),
    ("repository.full_name", "../hello"),
    ("repository.default_branch", ""),
    ("repository.default_branch", "a b"),
    ("repository.default_branch", "a\nb"),
    ("sender", None),
    ("sender.login", ""),
    ("sender.login", 5),
    ("sender.login", "x" * 257),
    ("sender.type", None),
    ("sender.id", None),
    ("installation", "77"),
    ("installation.id", "77"),
    ("changes", []),
    ("changes", {"body": {"from": 7}}),
    ("action", 7),
    ("action", ["opened"]),
)


@pytest.mark.parametrize(("field", "value"), WRONG, ids=range(len(WRONG)))
def test_what_we_use_is_checked(field: str, value: object) -> None:
    """The refusal names the field, and repeats nothing of it."""
    body: dict[str, Any] = json.loads(json.dumps(gh.opened()))
    *path, name = field.split(".")
    inside = body
    for part in path:
        inside = inside[part]
    inside[name] = value
    with pytest.raises(CallerError) as raised:
        read(body, "issues")
    assert raised.value.http_status == 400
    assert str(raised.value.details["field"]).startswith(field)
    assert "x" * 20 not in raised.value.message


def test_a_path_is_no_longer_than_one() -> None:
    """It stands in the prompt and in a document."""
    body = gh.review_commented("@claude")
    body["comment"]["path"] = "x" * 4097
    with pytest.raises(CallerError) as raised:
        read(body, "pull_request_review_comment")
    assert raised.value.details["field"] == "comment.path"


def test_an_action_that_is_not_ours_is_not_read() -> None:
    """However broken the rest is: it would start nothing."""
    assert read({"issue": None, "action": "pinned"}, "issues") == Unused(
        event="issues", action="pinned"
    )
    assert read({"issue": None}, "issues") == Unused(event="issues", action=None)


def test_the_longest_text_that_github_takes() -> None:
    """65,536 characters of four bytes each."""
    body = gh.opened(body="\U0001f600" * 65_536)
    assert isinstance(read(body, "issues"), IssueHappened)
