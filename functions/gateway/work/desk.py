"""What a worker needs of whoever speaks with people on an issue; `gateway.issues` is that."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from claude_run.errors import ClaudeRunError
from gateway.github.asked import Asked
from gateway.github.policy import HeldBack
from gateway.sessions.events import SessionEvent
from gateway.work.record import WorkItem


class Head(Protocol):
    """Where somebody's pull request is."""

    @property
    def branch(self) -> str:
        """The branch, in the same repository."""

    @property
    def sha(self) -> str:
        """Its newest commit."""


class Admission(Protocol):
    """What is to be done about an item. If it is not `allowed`, nothing, and nothing is said.

    `options` are those of a session's start. `base` is the branch that a pull request goes into;
    `head` is somebody's pull request that is worked on.
    """

    @property
    def allowed(self) -> bool:
        """Whether any of those who ask may be served."""

    @property
    def prompt(self) -> str:
        """What the agent is asked."""

    @property
    def options(self) -> Mapping[str, Any]:
        """How it is run."""

    @property
    def comment(self) -> int | None:
        """The progress comment."""

    @property
    def base(self) -> str:
        """Where a pull request goes."""

    @property
    def head(self) -> Head | None:
        """What is worked on, where that is not `base`."""

    @property
    def comment_only(self) -> bool:
        """Whether nothing may be published."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the item keeps of it, for the receipt."""


class Progress(Protocol):
    """The progress comment of a run."""

    def watch(self, events: Sequence[SessionEvent]) -> None:
        """What has happened; never waits."""

    def close(self) -> None:
        """No more of it."""


class Desk(Protocol):
    """Safe under threads. All of it may be done again, and is done once."""

    def may_stop(self, asked: Asked) -> bool:
        """Whether it is said to us, by somebody who may write to the repository."""

    def admit(self, item: WorkItem, asked: Sequence[Asked]) -> Admission:
        """What is to be done about what was asked; it is said on the issue that it begins."""

    def progress(self, item: WorkItem, admission: Admission) -> Progress:
        """Keeps the comment true while the agent runs."""

    def waiting(self, item: WorkItem, reason: ClaudeRunError) -> None:
        """Says that it has to wait, and why."""

    def title_and_body(self, item: WorkItem, held_back: Sequence[HeldBack]) -> tuple[str, str]:
        """Of the pull request."""

    def report(self, item: WorkItem) -> None:
        """Says how it ended, from the item's outcome and publication."""
