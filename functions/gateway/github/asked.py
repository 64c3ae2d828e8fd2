"""What somebody asked on GitHub, as the signed body of a delivery has it. Pure.

It is taken from the body alone and kept with the work item: whatever is edited later is not read.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

from gateway.github.trigger_settings import Kind, Sign


class Trigger(StrEnum):
    """Why it is for us."""

    OPENED = "opened"
    EDITED = "edited"
    LABELED = "labeled"
    ASSIGNED = "assigned"
    MENTIONED = "mentioned"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryRef:
    """A repository and the installation by which the App reaches it; `name` is `owner/name`.

    `installation_id`: None where the delivery did not say, as those of a repository's own webhook.
    """

    id: int
    name: str
    installation_id: int | None
    default_branch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of one person.

    `author` is who asks, not always who wrote the text: a label may be put on anybody's issue.
    `source` is what holds the text: `issue`, `comment:<id>`, `review:<id>`,
    `review_comment:<id>`. `text` is the raw text asked, `title` the issue's or pull request's;
    `issue_text` is its own text, where another one is asked. `path` and `line`: where a review's
    comment stands. `signs` are all that may start a run, in this repository or in another.
    `stop`: it asks to end what runs. `unless_served`: it counts only where the issue was never
    served before.
    """

    repository: RepositoryRef
    issue: int
    is_pull: bool
    source: str
    trigger: Trigger
    author: str
    author_id: int
    title: str
    text: str
    url: str
    issue_text: str = ""
    path: str | None = None
    line: int | None = None
    signs: tuple[Sign, ...] = ()
    stop: bool = False
    unless_served: bool = False

    @property
    def key(self) -> str:
        """The work item's: the same meaning has the same key, however often it is delivered.

        `opened`, `labeled` and `assigned` on one text are one item.
        """
        text = hashlib.sha256(f"{self.title}\0{self.text}".encode()).hexdigest()
        meant = f"{self.repository.id}\0{self.issue}\0{self.source}\0{text}"
        return hashlib.sha256(meant.encode()).hexdigest()[:40]

    def of_served_issue(self) -> Self:
        """As it counts where the issue was served before: by what happened now alone."""
        return replace(self, signs=tuple(sign for sign in self.signs if sign.fresh))

    @property
    def conversation(self) -> str:
        """The key of its conversation: one per repository and issue."""
        return f"{self.repository.id}-{self.issue}"

    def to_data(self) -> dict[str, Any]:
        """As it is stored."""
        # Not `asdict`, which copies every text: this is done for each delivery.
        return {
            **{name: getattr(self, name) for name in _NAMES},
            "repository": asdict(self.repository),
            "trigger": self.trigger.value,
            "signs": [{**sign._asdict(), "kind": sign.kind.value} for sign in self.signs],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """What `to_data` gave."""
        return cls(
            **{
                **data,
                "repository": RepositoryRef(**data["repository"]),
                "trigger": Trigger(data["trigger"]),
                "signs": tuple(
                    Sign(**{**sign, "kind": Kind(sign["kind"])}) for sign in data["signs"]
                ),
            }
        )


_NAMES = tuple(field.name for field in fields(Asked))
