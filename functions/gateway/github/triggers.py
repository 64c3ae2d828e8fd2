"""Whether a delivery is for us, and what is asked by it. Pure.

As far as the signed body and the deployment's settings tell. The worker holds it against the
repository's own settings, and asks GitHub what the author may do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from gateway.github.asked import Asked, RepositoryRef, Trigger
from gateway.github.payload import (
    Asking,
    Changes,
    Comment,
    Issue,
    IssueCommented,
    IssueHappened,
    PullRequest,
    Review,
    ReviewCommented,
    Reviewed,
)
from gateway.github.trigger_settings import Kind, Sign, TriggerSettings
from gateway.github.words import is_stop, mentioned

OURSELVES = "This App did it itself."
NO_PERSON = "Only people are served, and the sender is none."
NO_TRIGGER = "Nothing in it starts a run."
NOT_THE_TEXT = "Neither the title nor the text was edited."

# The source of what is asked by an issue itself.
ISSUE = "issue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """It is not for us."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What somebody may ask by an event, and the signs of it."""

    trigger: Trigger
    source: str
    of: Issue | PullRequest
    text: str
    url: str
    signs: tuple[Sign, ...]
    path: str | None = None
    line: int | None = None


def decide(payload: Asking, settings: TriggerSettings, *, slug: str | None) -> Asked | Ignored:
    """What is asked, or why nothing is. `slug`: our App's name, None where nobody knows it."""
    sender = payload.sender
    if slug is not None and sender.login.lower() == f"{slug}[bot]":
        return Ignored(reason=OURSELVES)
    if sender.type != "User" or sender.login.endswith("[bot]"):
        return Ignored(reason=NO_PERSON)
    if payload.action == "edited" and not _is_of_text(payload):
        return Ignored(reason=NOT_THE_TEXT)
    request = _request(payload)
    signs = settings.heard(request.signs, slug=slug)
    if not signs:
        return Ignored(reason=NO_TRIGGER)
    return _asked(payload, request, signs)


def _asked(payload: Asking, request: _Request, signs: tuple[Sign, ...]) -> Asked:
    of, is_own_text = request.of, request.source == ISSUE
    return Asked(
        repository=RepositoryRef(
            id=payload.repository.id,
            name=payload.repository.full_name,
            installation_id=payload.installation.id if payload.installation else None,
            default_branch=payload.repository.default_branch,
        ),
        issue=of.number,
        is_pull=isinstance(of, PullRequest) or of.pull_request is not None,
        source=request.source,
        trigger=request.trigger,
        author=payload.sender.login,
        author_id=payload.sender.id,
        title=of.title,
        text=request.text,
        url=request.url,
        issue_text="" if is_own_text else of.body or "",
        path=request.path,
        line=request.line,
        signs=signs,
        stop=not is_own_text and is_stop(request.text),
        unless_served=not any(sign.fresh for sign in signs),
    )


def _request(payload: Asking) -> _Request:
    match payload:
        case IssueHappened(issue=issue):
            trigger = Trigger(payload.action)
            text, url = issue.body or "", issue.html_url
            signs = tuple(_signs_of_issue(payload))
            return _Request(
                trigger=trigger, source=ISSUE, of=issue, text=text, url=url, signs=signs
            )
        case IssueCommented(issue=issue, comment=comment):
            return _said(f"comment:{comment.id}", issue, comment)
        case ReviewCommented(pull_request=pull, comment=comment):
            return _said(f"review_comment:{comment.id}", pull, comment)
        case Reviewed(pull_request=pull, review=review):
            return _said(f"review:{review.id}", pull, review)
        case _:
            assert_never(payload)


def _said(source: str, of: Issue | PullRequest, by: Comment | Review) -> _Request:
    """Somebody spoke about an issue or a pull request."""
    text = by.body or ""
    return _Request(
        trigger=Trigger.MENTIONED,
        source=source,
        of=of,
        text=text,
        url=by.html_url,
        signs=tuple(Sign(Kind.PHRASE, word) for word in mentioned(text)),
        path=by.path if isinstance(by, Comment) else None,
        line=by.line if isinstance(by, Comment) else None,
    )


def _signs_of_issue(happened: IssueHappened) -> Iterator[Sign]:
    match happened.action:
        case "opened":
            yield from _standing(happened.issue, fresh=True)
        case "edited":
            yield from _newly_mentioned(happened.issue, happened.changes)
            yield from _standing(happened.issue, fresh=False)
        case "labeled" if happened.label is not None:
            yield Sign(Kind.LABEL, happened.label.name.lower())
        case "assigned" if happened.assignee is not None:
            yield Sign(Kind.ASSIGNEE, happened.assignee.login.lower())


def _standing(issue: Issue, *, fresh: bool) -> Iterator[Sign]:
    """What an issue shows as it is."""
    yield Sign(Kind.ON_OPEN, fresh=fresh)
    for label in issue.labels:
        yield Sign(Kind.LABEL, label.name.lower(), fresh)
    for assignee in issue.assignees:
        yield Sign(Kind.ASSIGNEE, assignee.login.lower(), fresh)
    for word in _mentioned_by(issue.title, issue.body):
        yield Sign(Kind.PHRASE, word, fresh)


def _newly_mentioned(issue: Issue, changes: Changes) -> Iterator[Sign]:
    if changes.title is True or changes.body is True:
        return  # nobody tells what was there
    title = changes.title.text if changes.title else issue.title
    body = changes.body.text if changes.body else issue.body
    before = frozenset(_mentioned_by(title, body))
    for word in _mentioned_by(issue.title, issue.body):
        if word not in before:
            yield Sign(Kind.PHRASE, word)


def _mentioned_by(title: str | None, body: str | None) -> tuple[str, ...]:
    # One text after the other: a fence that the title seems to open does not hide the body.
    return tuple(dict.fromkeys((*mentioned(title or ""), *mentioned(body or ""))))


def _is_of_text(payload: Asking) -> bool:
    return isinstance(payload, IssueHappened) and bool(
        payload.changes.title or payload.changes.body
    )
