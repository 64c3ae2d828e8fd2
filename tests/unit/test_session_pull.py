"""The pull request of a session: its branch, its words, and what its caller is told."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from claude_run.wire import Changes
from gateway.github import session_pull
from gateway.github.asked import RepositoryRef
from gateway.github.policy import HeldBack
from gateway.github.publication import Publication, Published
from gateway.sessions.record import Session, Status, key_of

REF = RepositoryRef(id=1, name="octo/one", installation_id=7, default_branch="main")
NOW = datetime(2026, 11, 25, tzinfo=UTC)
SESSION = Session(
    key=key_of("me", "s-1"),
    owner="me",
    session_id="s-1",
    status=Status.PROCESSING,
    turn=1,
    fence=1,
    lease_until=NOW,
    created_at=NOW,
    last_activity_at=NOW,
    repository={"name": "octo/one"},
)
CHANGES = Changes(base="a" * 40, files=[])


def asked(prompt: str = "Do it", result: str = "Done.", session: Session = SESSION) -> Publication:
    """What would be published."""
    return session_pull.publication(
        session, prompt=prompt, result=result, changes=CHANGES, repository=REF
    )


def test_it_goes_from_the_sessions_branch_into_the_one_that_was_cloned() -> None:
    """The default branch where none was named; two owners' sessions are two."""
    made = asked()
    assert (made.branch, made.target, made.base) == ("claude/session-s-1", "main", "a" * 40)
    other = replace(SESSION, repository={"name": "octo/one", "branch": "dev"})
    assert asked(session=other).target == "dev"
    assert made.key != asked(session=replace(SESSION, key=key_of("you", "s-1"))).key


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("\n  Add a retry.  \nMore.", "Add a retry."),
        ("x" * 100, "x" * 71 + "…"),
        ("\u200b\n", "Changes by Claude"),
    ],
)
def test_it_is_called_by_the_prompts_first_line(prompt: str, title: str) -> None:
    """The commit too."""
    made = asked(prompt)
    assert made.title == title
    assert made.message == f"{title}\n\nBy Claude Code, in the session s-1."


def test_it_says_what_claude_said_and_what_is_missing() -> None:
    """In words that call nobody and close nothing."""
    body = asked(result="Fixed for @octo. Fixes #1 <!-- hidden -->").body(
        [HeldBack(path=".github/workflows/x.yml", rule="this place is protected")]
    )
    assert "`.github/workflows/x.yml`: this place is protected" in body
    for acting in ("@octo", "#1", "<!--"):
        assert acting not in body
    assert body.startswith("Fixed for")
    assert body.endswith(session_pull.ABOUT)
    assert "protected" not in asked().body([])


def test_its_caller_is_told_what_became_of_it() -> None:
    """With the address, or why there is none."""
    held = (HeldBack(path="x", rule="y"),)
    there = Published(branch="claude/session-s-1", url="https://github.com/octo/one/pull/1")
    told = session_pull.told(asked(), there)
    assert (told.url, told.code, told.message) == (there.url, None, session_pull.OPEN)
    aside = session_pull.told(asked(), replace(there, branch="claude/session-s-1-2"))
    assert "is from claude/session-s-1-2" in aside.message
    assert "without 1 of" in session_pull.told(asked(), replace(there, held_back=held)).message
    nothing = Published(branch="claude/session-s-1")
    assert session_pull.told(asked(), nothing).message == session_pull.NOTHING
    all_held = session_pull.told(asked(), replace(nothing, held_back=held))
    assert (all_held.url, all_held.message) == (None, session_pull.ALL_HELD_BACK)
