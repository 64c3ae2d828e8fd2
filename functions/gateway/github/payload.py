"""The bodies of GitHub's deliveries: which event one is of, and the fields that we use. Pure.

https://docs.github.com/en/webhooks/webhook-events-and-payloads

Only the body is signed. So its keys say what it is; the header that names the event can be forged
by whoever has seen a signed body once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from claude_run.errors import CallerError
from claude_run.wire import REPOSITORY_PATTERN, parse

# GitHub's bound is 65,536 characters, of four bytes each at most. Two of them fit in a document.
MAX_TEXT_BYTES = 400_000
MAX_LABELS = 200
MAX_ID = 2**63 - 1


class Event(StrEnum):
    """The events that mean something to us, by GitHub's names."""

    ISSUES = "issues"
    ISSUE_COMMENT = "issue_comment"
    REVIEW = "pull_request_review"
    REVIEW_COMMENT = "pull_request_review_comment"
    INSTALLATION = "installation"
    INSTALLATION_REPOSITORIES = "installation_repositories"
    PING = "ping"


def _bounded(text: str) -> str:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell out
        raise ValueError("must be well-formed Unicode") from None
    if length > MAX_TEXT_BYTES:
        raise ValueError(f"must be at most {MAX_TEXT_BYTES} bytes")
    return text


class _Part(BaseModel):
    """Strict in what we use; whatever else is there may change any day."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


Id = Annotated[int, Field(ge=0, le=MAX_ID)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Text = Annotated[str, AfterValidator(_bounded)]
Title = Annotated[str, StringConstraints(max_length=1024)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s\x00-\x1f\x7f]+$", max_length=2048)]
Branch = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f~^:?*\[\\]+$", max_length=255)]
FullName = Annotated[str, StringConstraints(pattern=REPOSITORY_PATTERN)]


class Account(_Part):
    """A person, a bot, an organisation: `type` says which."""

    id: Id
    login: Name
    type: Name


class Repository(_Part):
    """`full_name` is `owner/name`."""

    id: Id
    full_name: FullName
    default_branch: Branch


class Installation(_Part):
    """By its number."""

    id: Id


class Label(_Part):
    """By its name."""

    name: Name


class Login(_Part):
    """Somebody, by name."""

    login: Name


class Issue(_Part):
    """An issue, or a pull request where comments speak of one."""

    number: Id
    title: Title
    body: Text | None
    html_url: Url
    labels: Annotated[list[Label], Field(max_length=MAX_LABELS)] = []
    assignees: Annotated[list[Login], Field(max_length=MAX_LABELS)] = []
    pull_request: object = None


class PullRequest(_Part):
    """A pull request, where reviews speak of one."""

    number: Id
    title: Title
    body: Text | None
    html_url: Url


class Comment(_Part):
    """A comment; `path` and `line` where it stands at a line of a pull request."""

    id: Id
    body: Text
    html_url: Url
    path: Annotated[str, StringConstraints(max_length=4096)] | None = None
    line: Id | None = None


class Review(_Part):
    """A review, often without a text."""

    id: Id
    body: Text | None
    html_url: Url


class Before(_Part):
    """What stood there before an edit."""

    text: Text | None = Field(alias="from")


class Changes(_Part):
    """What an edit has changed. Some servers say only that it has: True, without what it was."""

    title: Before | bool | None = None
    body: Before | bool | None = None


class _Happened(_Part):
    action: Name
    repository: Repository
    sender: Account
    installation: Installation | None = None


class IssueHappened(_Happened):
    """`issues`."""

    issue: Issue
    changes: Changes = Changes()
    label: Label | None = None
    assignee: Login | None = None


class IssueCommented(_Happened):
    """`issue_comment`: on an issue or on a pull request."""

    issue: Issue
    comment: Comment


class Reviewed(_Happened):
    """`pull_request_review`."""

    pull_request: PullRequest
    review: Review


class ReviewCommented(_Happened):
    """`pull_request_review_comment`."""

    pull_request: PullRequest
    comment: Comment


class InstalledAccount(_Part):
    """An enterprise has a slug and no login."""

    login: Name | None = None
    slug: Name | None = None


class InstalledApp(_Part):
    """An installation as its own events have it; `app_slug` is missing on older servers."""

    id: Id
    app_id: Id
    app_slug: Annotated[str, StringConstraints(max_length=256)] = ""
    account: InstalledAccount
    suspended_at: object = None


class InstalledRepository(_Part):
    """A repository as the events of an installation have it."""

    id: Id
    full_name: FullName


class InstallationHappened(_Part):
    """`installation`."""

    action: Name
    installation: InstalledApp
    repositories: list[InstalledRepository] | None = None


class RepositoriesChanged(_Part):
    """`installation_repositories`."""

    action: Name
    installation: InstalledApp
    repositories_added: list[InstalledRepository]
    repositories_removed: list[InstalledRepository]


class Ping(_Part):
    """`ping`: a webhook was set up."""

    hook_id: Id


Asking = IssueHappened | IssueCommented | Reviewed | ReviewCommented
Payload = Asking | InstallationHappened | RepositoriesChanged | Ping


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """An event or an action that means nothing to us; nothing more of it was read."""

    event: str
    action: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """How an event is read, and the actions that mean something; `None`: it has none."""

    model: type[BaseModel]
    actions: frozenset[str | None]


_READINGS: Mapping[Event, _Reading] = {
    Event.ISSUES: _Reading(
        model=IssueHappened, actions=frozenset({"opened", "edited", "labeled", "assigned"})
    ),
    Event.ISSUE_COMMENT: _Reading(model=IssueCommented, actions=frozenset({"created"})),
    Event.REVIEW: _Reading(model=Reviewed, actions=frozenset({"submitted"})),
    Event.REVIEW_COMMENT: _Reading(model=ReviewCommented, actions=frozenset({"created"})),
    Event.INSTALLATION: _Reading(
        model=InstallationHappened,
        actions=frozenset(
            {"created", "deleted", "suspend", "unsuspend", "new_permissions_accepted"}
        ),
    ),
    Event.INSTALLATION_REPOSITORIES: _Reading(
        model=RepositoriesChanged, actions=frozenset({"added", "removed"})
    ),
    Event.PING: _Reading(model=Ping, actions=frozenset({None})),
}

# The first whose keys are all there. No other event has them.
_KEYS: tuple[tuple[Event, frozenset[str]], ...] = (
    (
        Event.INSTALLATION_REPOSITORIES,
        frozenset({"installation", "repositories_added", "repositories_removed"}),
    ),
    (Event.REVIEW, frozenset({"pull_request", "review"})),
    (Event.REVIEW_COMMENT, frozenset({"pull_request", "comment"})),
    (Event.ISSUE_COMMENT, frozenset({"issue", "comment"})),
    (Event.ISSUES, frozenset({"issue"})),
    (Event.PING, frozenset({"zen", "hook_id"})),
)
# Many events name the installation that they come from; only its own describe it, and nothing else.
_DESCRIBED = frozenset({"app_id", "account"})
_BESIDE_INSTALLATION = frozenset(
    {"action", "installation", "repositories", "requester", "sender", "organization", "enterprise"}
)


def event_of(body: Mapping[str, Any]) -> Event | None:
    """The event that a body is of; None: one of those that mean nothing to us."""
    for event, keys in _KEYS:
        if keys <= body.keys():
            return event
    installation = body.get("installation")
    if (
        isinstance(installation, dict)
        and installation.keys() >= _DESCRIBED
        and body.keys() <= _BESIDE_INSTALLATION
    ):
        return Event.INSTALLATION
    return None


def read(body: Mapping[str, Any], named: str) -> Payload | Unused:
    """What a body tells, or `CallerError`. `named`: the event by the header."""
    event = event_of(body)
    if named != event and (event is not None or named in set(Event)):
        rule = "names an event that the body is not of"
        raise CallerError(
            f"X-GitHub-Event: {rule}", details={"field": "X-GitHub-Event", "rule": rule}
        )
    action = body.get("action")
    if action is not None and not isinstance(action, str):
        raise CallerError("action: must be a string", details={"field": "action"})
    if event is None or action not in _READINGS[event].actions:
        return Unused(event=named, action=action)
    payload: Payload = parse(_READINGS[event].model, body)  # type: ignore[assignment]
    return payload
