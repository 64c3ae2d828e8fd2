"""GitHub for a worker whose own steps are under test: what it does there, as lines of a file.

The file outlives the process, as GitHub does. Every line is written once, however often it is
asked for: the real ones find what an earlier try has left.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_run.errors import ClaudeRunError
from gateway.github.asked import Asked, RepositoryRef
from gateway.github.policy import HeldBack
from gateway.github.publication import Publication, Published
from gateway.sessions.events import SessionEvent
from gateway.work.desk import Admission, Head
from gateway.work.record import WorkItem

PULL = 9
HEAD = "d" * 40


@dataclass(frozen=True, slots=True, kw_only=True)
class LightAdmission:
    """What `LightDesk.admit` gives."""

    allowed: bool = True
    prompt: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    comment: int | None = 4
    base: str = "main"
    head: Head | None = None
    comment_only: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LightGitHub:
    """Desk, publisher, tokens and pull requests in one. `writing` is told before each line.

    `admission` is what is answered to what is asked; `failing` is raised by what it names;
    `hears` is what a repository's own triggers are.
    """

    path: Path
    writing: Callable[[], None] = lambda: None
    admission: LightAdmission = field(default_factory=LightAdmission)
    writers: frozenset[str] = frozenset({"ann"})
    failing: Mapping[str, ClaudeRunError] = field(default_factory=dict)
    hears: Callable[[Asked], bool] = lambda _asked: True
    foreign: str | None = None
    is_pull_open: bool = True
    held_back: tuple[HeldBack, ...] = ()

    @property
    def lines(self) -> list[str]:
        """All that was done."""
        return self.path.read_text().splitlines() if self.path.exists() else []

    def may_stop(self, asked: Asked) -> bool:
        """Whether it is one of the writers."""
        return asked.author in self.writers

    def admit(self, item: WorkItem, asked: Sequence[Asked]) -> LightAdmission:
        """As told; the prompt is all that was asked."""
        self._once(f"comment {item.key}")
        given = self.admission
        return LightAdmission(
            allowed=given.allowed
            and any(one.author in self.writers and self.hears(one) for one in asked),
            prompt="\n".join(one.text for one in asked),
            options=given.options,
            comment_only=given.comment_only,
        )

    def progress(self, item: WorkItem, admission: Admission) -> "LightGitHub":
        """Itself."""
        del item, admission
        return self

    def watch(self, events: Sequence[SessionEvent]) -> None:
        """Nobody reads it."""

    def close(self) -> None:
        """Nothing is open."""

    def waiting(self, item: WorkItem, reason: ClaudeRunError) -> None:
        """A line."""
        self._once(f"waiting {item.key} {reason.code}")

    def title_and_body(self, item: WorkItem, held_back: Sequence[HeldBack]) -> tuple[str, str]:
        """Something."""
        del held_back
        return f"Title of {item.key}", "Body"

    def report(self, item: WorkItem) -> None:
        """A line."""
        self._once(f"report {item.key} {item.outcome['code']}")

    def token(self, repository: RepositoryRef, permissions: Mapping[str, str]) -> str:
        """One that only reads."""
        assert dict(permissions) == {"contents": "read"}
        return f"planted-clone-token-{repository.id}"

    def is_open(self, repository: RepositoryRef, number: int) -> bool:
        """As told."""
        del repository, number
        return self.is_pull_open

    def publish(
        self, publication: Publication, *, proceed: Callable[[], None] = lambda: None
    ) -> Published:
        """Two lines, as it takes several requests."""
        proceed()
        draft = " draft" if publication.draft else ""
        files = [change.path or "" for change in publication.changes.files]
        self._once(f"branch {publication.branch} {publication.base} {' '.join(files)}")
        proceed()
        self._once(f"pull {publication.branch} into {publication.target}{draft}")
        return Published(
            branch=publication.branch,
            commit="c" * 40,
            url=f"https://github.test/o/r/pull/{PULL}",
            number=PULL,
            draft=publication.draft,
            files=tuple(files),
            held_back=self.held_back,
        )

    def foreign_head(self, repository: RepositoryRef, branch: str, base: str) -> str | None:
        """As told; without a commit that ours stands on, the branch's head is somebody's."""
        del repository, branch
        return self.foreign if base else HEAD

    def _once(self, line: str) -> None:
        what = line.partition(" ")[0]
        if what in self.failing:
            raise self.failing[what]
        if line not in self.lines:
            self.writing()
            with self.path.open("a") as file:
                file.write(f"{line}\n")
