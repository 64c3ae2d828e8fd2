"""Whether a delivery is for us: by its body and the settings alone, with the reason."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import github_events as gh
from gateway.github import triggers
from gateway.github.asked import Asked, Trigger
from gateway.github.payload import (
    Event,
    InstallationHappened,
    Ping,
    RepositoriesChanged,
    Unused,
    event_of,
    read,
)
from gateway.github.trigger_settings import Kind, Sign, TriggerSettings
from gateway.github.triggers import NO_PERSON, NO_TRIGGER, NOT_THE_TEXT, OURSELVES, Ignored
from gateway.github.words import mentioned

DEFAULT = TriggerSettings()
QUIET = TriggerSettings.from_environ({"TRIGGER_ON_OPEN": "false"})


def decide(body: gh.Json, settings: TriggerSettings = DEFAULT) -> Asked | Ignored:
    """What is asked by a body, or why nothing is."""
    event = event_of(body)
    assert event is not None
    payload = read(body, event)
    assert not isinstance(payload, Unused | Ping | InstallationHappened | RepositoriesChanged)
    return triggers.decide(payload, settings, slug=gh.SLUG)


def asked(body: gh.Json, settings: TriggerSettings = DEFAULT) -> Asked:
    """What is asked."""
    found = decide(body, settings)
    assert isinstance(found, Asked), found
    return found


def reason(body: gh.Json, settings: TriggerSettings = DEFAULT) -> str:
    """Why nothing is."""
    found = decide(body, settings)
    assert isinstance(found, Ignored), found
    return found.reason


def test_an_issue_is_opened() -> None:
    """Who asks, what, where, and whether it counts."""
    found = asked(gh.opened(12, title="T", body="B", sender=gh.account("lisa", id=5)))
    assert (found.repository.id, found.repository.name) == (gh.REPOSITORY_ID, "octo/hello")
    assert found.repository.installation_id == gh.INSTALLATION_ID
    assert found.repository.default_branch == "main"
    assert (found.issue, found.is_pull, found.source) == (12, False, "issue")
    assert (found.trigger, found.author, found.author_id) == (Trigger.OPENED, "lisa", 5)
    assert (found.title, found.text, found.issue_text) == ("T", "B", "")
    assert found.url == "https://github.com/octo/hello/issues/12"
    assert not found.stop
    assert not found.unless_served
    assert Asked.from_data(found.to_data()) == found


@pytest.mark.parametrize("body", [None, "", "<!-- nothing -->"])
def test_an_issue_without_a_word_is_one(body: str | None) -> None:
    """Its title may say it all."""
    assert asked(gh.opened(body=body)).text == (body or "")


def test_on_open_can_be_off() -> None:
    """Then it takes a label, a mention or an assignee; the label that it is opened with counts."""
    assert reason(gh.opened(), QUIET) == NO_TRIGGER
    assert asked(gh.opened(labels=("bug", "Claude")), QUIET).trigger is Trigger.OPENED
    assert asked(gh.opened(title="@claude: greet"), QUIET)
    assert asked(gh.opened(body="Could you, @Our-App?"), QUIET)
    assert reason(gh.opened(body="`@claude`", labels=("bug",)), QUIET) == NO_TRIGGER
    named = TriggerSettings.from_environ({"TRIGGER_ON_OPEN": "false", "TRIGGER_ASSIGNEE": "robot"})
    assert asked(gh.opened(assignees=("mona", "Robot")), named)


def test_a_label_is_put_on_now() -> None:
    """Ours, in any case; that it has been there for long is no trigger at another one."""
    one = gh.issue(labels=("claude", "bug"))
    found = asked(gh.event("labeled", issue=one, label=gh.label("CLAUDE")))
    assert found.trigger is Trigger.LABELED
    assert reason(gh.event("labeled", issue=one, label=gh.label("bug"))) == NO_TRIGGER
    assert reason(gh.event("labeled", issue=one)) == NO_TRIGGER


def test_somebody_is_assigned() -> None:
    """The configured login, and nobody without one."""
    named = TriggerSettings.from_environ({"TRIGGER_ASSIGNEE": "robot"})
    body = gh.event("assigned", issue=gh.issue(), assignee=gh.account("Robot"))
    assert asked(body, named).trigger is Trigger.ASSIGNED
    assert reason(body) == NO_TRIGGER
    body = gh.event("assigned", issue=gh.issue(), assignee=gh.account("mona"))
    assert reason(body, named) == NO_TRIGGER


def test_the_same_text_is_the_same_work() -> None:
    """Opened, labeled and assigned are one item; another text, issue or source is another."""
    named = TriggerSettings.from_environ({"TRIGGER_ASSIGNEE": "robot"})
    one = gh.issue(labels=("claude",))
    same = (
        gh.event("opened", issue=one),
        gh.event("labeled", issue=one, label=gh.label("claude")),
        gh.event("assigned", issue=one, assignee=gh.account("robot")),
    )
    assert len({asked(body, named).key for body in same}) == 1
    others = (
        gh.opened(8),
        gh.opened(body="Other"),
        gh.opened(title="Other"),
        gh.commented("@claude"),
    )
    assert len({asked(body).key for body in (same[0], *others)}) == 5


# Edits


def test_an_edit_serves_an_issue_that_was_not_served() -> None:
    """As opening it would have."""
    found = asked(gh.edited({"body": "typo"}, body="text"))
    assert (found.trigger, found.unless_served) == (Trigger.EDITED, True)
    assert reason(gh.edited({"body": "typo"}, body="text"), QUIET) == NO_TRIGGER
    assert asked(gh.edited({"body": "typo"}, body="text", labels=("claude",)), QUIET).unless_served


@pytest.mark.parametrize(
    ("before", "fields"),
    [
        ({"body": "do it"}, {"body": "do it, @claude"}),
        ({"body": None}, {"body": "@claude do it"}),
        ({"body": "`@claude` do it"}, {"body": "@claude do it"}),
        ({"title": "do it"}, {"title": "@claude do it"}),
        ({"title": "a", "body": "b"}, {"title": "a @claude", "body": "b"}),
    ],
)
def test_an_edit_that_newly_mentions_us_counts_always(
    before: dict[str, str | None], fields: dict[str, Any]
) -> None:
    """Whether the issue was served before or not."""
    found = asked(gh.edited(before, **fields), QUIET)
    assert not found.unless_served


@pytest.mark.parametrize(
    ("before", "fields"),
    [
        ({"body": "@claude do it"}, {"body": "@claude do it now"}),
        ({"title": "old"}, {"title": "new", "body": "as before, @claude"}),
        ({"title": "@claude", "body": "x"}, {"title": "x", "body": "@claude"}),
    ],
)
def test_a_mention_that_was_there_is_not_new(
    before: dict[str, str | None], fields: dict[str, Any]
) -> None:
    """It counts where nobody has served it."""
    assert asked(gh.edited(before, **fields), QUIET).unless_served


def test_no_other_edit_starts_anything() -> None:
    """Neither one of something else, nor one that tells nothing; nor of a comment."""
    assert reason(gh.edited({}, body="@claude")) == NOT_THE_TEXT
    body = gh.edited({}, body="@claude")
    del body["changes"]
    assert reason(body) == NOT_THE_TEXT
    assert isinstance(
        read({**gh.commented("@claude"), "action": "edited"}, "issue_comment"), Unused
    )


def test_an_edit_of_which_nobody_tells_what_was_there() -> None:
    """Some servers say only that the text was edited: then nothing is new."""
    body = gh.edited({}, body="@claude")
    for changes, expected in (({"title": False, "body": True}, True), ({"title": False}, False)):
        body["changes"] = changes
        found = decide(body)
        assert isinstance(found, Asked) is expected
        assert not isinstance(found, Asked) or found.unless_served


# Comments and reviews


def test_a_comment_on_an_issue() -> None:
    """The comment is what is asked; what the issue said at that moment comes along."""
    found = asked(gh.commented("@claude, please"))
    assert (found.trigger, found.source) == (Trigger.MENTIONED, "comment:3001")
    assert (found.text, found.title) == ("@claude, please", "Add a greeting")
    assert found.issue_text == "Please greet the user by name."
    assert found.url.endswith("#issuecomment-3001")
    assert not found.is_pull
    assert not found.unless_served
    assert reason(gh.commented("Please greet")) == NO_TRIGGER


def test_a_comment_on_a_pull_request() -> None:
    """GitHub tells it as an issue's."""
    found = asked(gh.commented("@claude", is_pull=True))
    assert (found.is_pull, found.issue) == (True, 7)


def test_a_review() -> None:
    """Its own text, which often is none."""
    found = asked(gh.reviewed("@claude rename it"))
    assert (found.is_pull, found.issue, found.source) == (True, 9, "review:80")
    assert found.issue_text == "It greets."
    for body in (None, "", "Looks good"):
        assert reason(gh.reviewed(body)) == NO_TRIGGER


def test_a_comment_of_a_review() -> None:
    """It stands at a line of a file."""
    found = asked(gh.review_commented("@claude rename it"))
    assert (found.is_pull, found.source) == (True, "review_comment:9001")
    assert (found.path, found.line) == ("src/greet.py", 12)


def test_a_request_to_stop() -> None:
    """Of a comment or review; an issue of that text is an issue."""
    for body in (
        gh.commented("@claude stop"),
        gh.reviewed("@claude stop."),
        gh.review_commented("@our-app Stop"),
    ):
        assert asked(body).stop
    assert not asked(gh.opened(body="@claude stop")).stop
    assert reason(gh.commented("@mona stop")) == NO_TRIGGER


# Who asks


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (gh.BOT, NO_PERSON),
        (gh.account("octo", type="Organization"), NO_PERSON),
        (gh.account("ghost", type="Mannequin"), NO_PERSON),
        (gh.account("fresh[bot]", type="User"), NO_PERSON),
        (gh.OURSELVES, OURSELVES),
        (gh.account("Our-App[bot]", type="User"), OURSELVES),
    ],
)
def test_only_people_are_served(sender: gh.Json, expected: str) -> None:
    """No bot, and never ourselves, whatever they say."""
    for body in (
        gh.opened(labels=("claude",), sender=sender),
        gh.edited({"body": ""}, body="@claude", sender=sender),
        gh.commented("@claude", sender=sender),
        gh.reviewed("@claude", sender=sender),
        gh.review_commented("@claude stop", sender=sender),
        gh.event("labeled", issue=gh.issue(), label=gh.label("claude"), sender=sender),
    ):
        assert reason(body) == expected


def test_who_labels_asks() -> None:
    """Not who wrote the text: the right to write is looked for with whoever acted."""
    sender = gh.account("maintainer", id=1)
    body = gh.event("labeled", issue=gh.issue(), label=gh.label("claude"), sender=sender)
    assert (asked(body).author, asked(body).author_id) == ("maintainer", 1)


def test_a_repository_may_have_words_of_its_own() -> None:
    """Where the operator lets them: any mention is passed on, with all signs, to be looked at."""
    free = TriggerSettings.from_environ({"TRIGGER_PHRASE": "@claude,*", "TRIGGER_LABEL": "*"})
    found = asked(gh.commented("@robot go, as @mona said"), free)
    assert found.signs == (Sign(Kind.PHRASE, "@robot"), Sign(Kind.PHRASE, "@mona"))
    assert free.usual.first(found.signs, slug=gh.SLUG) is None
    many = " ".join(f"@user{number}" for number in range(10_000))
    found = asked(gh.commented(f"{many} @claude"), free)
    assert found.signs[0] == Sign(Kind.PHRASE, "@claude")
    assert len(found.signs) == 51
    edit = asked(gh.edited({"body": "x"}, body="@robot"), free)
    assert not edit.unless_served
    assert Asked.from_data(edit.to_data()) == edit


def test_a_delivery_of_a_repositorys_own_webhook() -> None:
    """It names no installation; who goes on with it asks GitHub."""
    body = gh.opened()
    del body["installation"]
    assert asked(body).repository.installation_id is None


SENDERS = st.sampled_from(
    [gh.account(), gh.BOT, gh.OURSELVES, gh.account("o", type="Organization")]
)
TEXTS = st.text("@claude `>\n-our-app stop", max_size=60)


@given(sender=SENDERS, text=TEXTS, event=st.sampled_from(list(Event)[:4]), data=st.data())
def test_whatever_is_asked_was_asked_of_us(
    sender: gh.Json, text: str, event: Event, data: st.DataObject
) -> None:
    """By a person, with a sign that holds; and what is stored is what was read."""
    bodies: dict[Event, Any] = {
        Event.ISSUES: gh.edited({"body": data.draw(TEXTS)}, body=text, sender=sender),
        Event.ISSUE_COMMENT: gh.commented(text, sender=sender),
        Event.REVIEW: gh.reviewed(text, sender=sender),
        Event.REVIEW_COMMENT: gh.review_commented(text, sender=sender),
    }
    found = decide(bodies[event], QUIET)
    mentions_us = {"@claude", f"@{gh.SLUG}"} & set(mentioned(text))
    assert isinstance(found, Asked) == bool(sender["type"] == "User" and mentions_us)
    if isinstance(found, Asked):
        assert QUIET.usual.first(found.signs, slug=gh.SLUG) is not None
        assert Asked.from_data(found.to_data()) == found
