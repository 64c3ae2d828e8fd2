"""Whom the worker asks what is to be done for an issue, and who speaks there for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog

from claude_run.errors import CallerError, ClaudeRunError, Code
from gateway.github.access import GitHubAccess
from gateway.github.asked import Asked
from gateway.github.failures import translated
from gateway.github.policy import HeldBack
from gateway.github.tokens import Permissions
from gateway.github.trigger_settings import Triggers, TriggerSettings
from gateway.issues import comment, permission, prompt, receipt, repository_file
from gateway.issues.progress import Progress
from gateway.issues.repository_file import Read, RepositoryFile
from gateway.issues.settings import IssueSettings
from gateway.issues.standing import Standing
from gateway.issues.voice import Voice
from gateway.work import desk as worker
from gateway.work.record import WorkItem

log = structlog.get_logger()

_CONTENTS: Permissions = {"contents": "read"}
_PULLS: Permissions = {"pull_requests": "read"}

SEEN = "eyes"
ANSWERED = "rocket"
NOT_DONE = "confused"

UNHEARD = (
    "{path} names triggers that this deployment does not listen to: {words}. Its operator allows "
    "them by TRIGGER_… settings."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where somebody's pull request is."""

    branch: str
    sha: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What is to be done; `facts` is what the item keeps of it for the receipt."""

    allowed: bool
    prompt: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    comment: int | None = None
    base: str = ""
    head: Head | None = None
    comment_only: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


DENIED = Admission(allowed=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What is worked on, and where it goes."""

    base: str
    head: Head | None = None
    is_fork: bool = False


class Desk:
    """One for each process; safe under threads. `runs`: how many runs there are now."""

    def __init__(
        self,
        *,
        access: GitHubAccess,
        settings: IssueSettings,
        triggers: TriggerSettings,
        budget_usd: float,
        runs: Callable[[], int],
    ) -> None:
        self._access = access
        self._settings = settings
        self._triggers = triggers
        self._budget_usd = budget_usd
        self._runs = runs
        self._voice = Voice(access)

    # --- before ------------------------------------------------------------------------------

    def may_stop(self, asked: Asked) -> bool:
        """Whether it is said to us, by somebody who may write to the repository, as it is now."""
        if not self._may_write(asked):
            return False
        # A deployment may listen to whatever a repository chooses: then to each mention of anybody.
        triggers = self._file(asked).file.chosen(self._triggers.usual)
        return triggers.first(asked.signs, slug=self._voice.slug) is not None

    def admit(self, item: WorkItem, asked: Sequence[Asked]) -> Admission:
        """Look who asks for what, and say that it begins."""
        served = [one for one in asked if self._may_write(one)]
        if not served:
            return DENIED
        chosen = self._file(served[0])
        triggers = chosen.file.chosen(self._triggers.usual)
        slug = self._voice.slug
        served = [one for one in served if triggers.first(one.signs, slug=slug) is not None]
        if not served:
            return DENIED
        phrase = "@claude" if "@claude" in triggers.phrases else f"@{slug}"
        for one in served:
            self._react(one, SEEN)
        body = comment.working(Standing(), key=item.key, phrase=phrase, elapsed=timedelta())
        number = self._voice.begin(item, served[0], body)
        asks = prompt.build(served)
        place = self._place(item, served[0])
        return Admission(
            allowed=True,
            prompt=asks.text,
            options=self._options(chosen.file),
            comment=number,
            base=place.base,
            head=place.head,
            comment_only=place.is_fork,
            facts={
                "removed": dict(asks.removed),
                "warnings": self._warnings(chosen, triggers),
                "phrase": phrase,
            },
        )

    def _may_write(self, asked: Asked) -> bool:
        return permission.may_write(self._access, asked)

    def _file(self, asked: Asked) -> Read:
        client = self._access.client(asked.repository, _CONTENTS)
        path = f"/repos/{asked.repository.name}/contents/{repository_file.PATH}"
        try:
            with translated():
                _, answer = client.requester.requestJsonAndCheck(
                    "GET", path, parameters={"ref": asked.repository.default_branch}
                )
        except CallerError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            return Read(file=RepositoryFile())
        return repository_file.read_answer(answer)

    def _options(self, file: RepositoryFile) -> dict[str, Any]:
        usual = self._settings
        options: dict[str, Any] = {
            "permissionMode": usual.mode.value,
            "allowedTools": file.allowed(usual.tools),
            "maxTurns": min(usual.turns, file.max_turns or usual.turns),
            "timeoutMinutes": min(usual.minutes, file.timeout_minutes or usual.minutes),
            "maxBudgetUsd": min(self._budget_usd, file.max_budget_usd or self._budget_usd),
        }
        if file.model is not None:
            options["model"] = file.model
        if file.instructions is not None and file.instructions.strip():
            options["appendSystemPrompt"] = file.instructions
        return options

    def _warnings(self, chosen: Read, triggers: Triggers) -> list[str]:
        warnings = [chosen.complaint] if chosen.complaint else []
        if unheard := self._triggers.unheard(triggers):
            words = ", ".join(unheard)
            warnings.append(UNHEARD.format(path=repository_file.PATH, words=words))
        return warnings

    def _place(self, item: WorkItem, asked: Asked) -> _Place:
        if not asked.is_pull:
            return _Place(base=asked.repository.default_branch)
        client = self._access.client(asked.repository, _PULLS)
        path = f"/repos/{asked.repository.name}/pulls/{asked.issue}"
        with translated():
            _, pull = client.requester.requestJsonAndCheck("GET", path)
            source = pull["head"].get("repo") or {}  # a fork that was deleted is none
            base = pull["base"]["ref"]
            head = Head(branch=pull["head"]["ref"], sha=pull["head"]["sha"])
        if item.conversation != asked.conversation:
            # Our own: what comes now belongs to it.
            return _Place(base=base)
        is_fork = source.get("id") != asked.repository.id
        return _Place(base=base if is_fork else head.branch, head=head, is_fork=is_fork)

    # --- meanwhile ---------------------------------------------------------------------------

    def progress(self, item: WorkItem, admission: worker.Admission) -> Progress:
        """Keeps the comment true while the agent runs."""
        asked = Asked.from_data(item.asked or {})
        number = admission.comment
        if number is None:
            raise ValueError("an item that was not admitted has no progress")
        phrase = admission.facts["phrase"]

        def render(standing: Standing, elapsed: timedelta) -> str:
            return comment.working(standing, key=item.key, phrase=phrase, elapsed=elapsed)

        return Progress(
            edit=lambda body: self._voice.edit(asked.repository, number, body),
            render=render,
            runs=self._runs,
        )

    def waiting(self, item: WorkItem, reason: ClaudeRunError) -> None:
        """Says that it has to wait, and why."""
        asked = Asked.from_data(item.asked or {})
        body = comment.waiting(reason.message, key=item.key)
        self._voice.begin(item, asked, body)

    # --- afterwards --------------------------------------------------------------------------

    def title_and_body(self, item: WorkItem, held_back: Sequence[HeldBack]) -> tuple[str, str]:
        """Of the pull request."""
        return receipt.pull_request(item, held_back)

    def report(self, item: WorkItem) -> None:
        """Says how it ended, where it was served."""
        asked = Asked.from_data(item.asked or {})
        # It failed before anything was said: whoever may not ask gets no answer.
        begun = item.comment is not None or self._voice.found(item, asked) is not None
        if not begun and not self._may_write(asked):
            return
        body = receipt.report(item)
        try:
            self._voice.begin(item, asked, body)
        except CallerError as error:
            if error.code is not Code.NOT_FOUND or item.comment is None:
                raise
            log.info("a comment was deleted, and the receipt with it", work=item.key)
        self._react(asked, NOT_DONE if item.outcome["code"] else ANSWERED)

    def _react(self, asked: Asked, content: str) -> None:
        try:
            self._voice.react(asked, content)
        except CallerError as error:
            # What it belongs to is deleted, or locked.
            log.info("a reaction was not made", reason=error.message)
