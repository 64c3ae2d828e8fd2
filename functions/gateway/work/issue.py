"""What a worker does with what somebody asked on GitHub, state by state.

Each step may be the first one that this worker takes: whatever it needs is in the item.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog
from pydantic import SecretStr

from claude_run.errors import CallerError, ClaudeRunError, Code, StoppedError, UpstreamError
from claude_run.wire import Changes, parse
from gateway.github.asked import Asked, RepositoryRef
from gateway.github.publication import Publication, Published
from gateway.requests import StartRequest
from gateway.sessions.record import ISSUES, LEASE, Kind, Session, Status, Usage, key_of
from gateway.sessions.registry import Claim
from gateway.store import Store, Transaction
from gateway.work import stored
from gateway.work.branches import branch_name
from gateway.work.claims import Claims
from gateway.work.conversation import DRAFT, Conversation
from gateway.work.desk import Admission, Desk
from gateway.work.hold import Hold
from gateway.work.loop import MAX_ATTEMPTS
from gateway.work.outcome import Outcome
from gateway.work.record import State, WorkItem
from gateway.work.turns import Turns
from gateway.work.waiting import wait_for_quota

log = structlog.get_logger()

_READ = {"contents": "read"}
# Of what was published, for an item is one document; the pull request itself has all of it.
MAX_KEPT = 100
MAX_KEPT_PATH = 300


class Tokens(Protocol):
    """Where a token for cloning comes from."""

    def token(self, repository: RepositoryRef, permissions: Mapping[str, str]) -> str:
        """Of one repository, with these permissions only."""


class Publishes(Protocol):
    """What turns a change set into a pull request."""

    def publish(self, publication: Publication, *, proceed: Callable[[], None] = ...) -> Published:
        """Do it, or find it done; `proceed` may raise what ends it between two requests."""

    def foreign_head(self, repository: RepositoryRef, branch: str, base: str) -> str | None:
        """The commit that somebody else has pushed to a branch of ours, or None."""


class Pulls(Protocol):
    """The pull requests that were published."""

    def is_open(self, repository: RepositoryRef, number: int) -> bool:
        """Whether it is neither merged nor closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueSteps:
    """One for each worker; safe under threads."""

    store: Store
    claims: Claims
    turns: Turns
    desk: Desk
    tokens: Tokens
    pulls: Pulls
    publisher: Publishes
    server_url: str

    def take(self, hold: Hold) -> None:
        """On to its end, or until it is put off or interrupted."""
        if hold.item.stop:
            self._stop(hold)
            return
        if hold.item.state is State.CLAIMED:
            self._run(hold)
        elif hold.item.state is State.RUNNING:
            hold.produced(self.turns.recover(hold).to_data())
        if hold.item.state is State.PRODUCED and not hold.interrupted:
            self._publish(hold)
        if hold.item.state is State.PUBLISHED and not hold.interrupted:
            self.desk.report(hold.item)
            hold.finish(Outcome.from_data(hold.item.outcome).state)

    def fail(self, hold: Hold, error: ClaudeRunError) -> None:
        """Give it up, and say so where it was served; later, where that cannot be said now."""
        item = hold.item
        if item.stop:
            hold.finish(State.FAILED)
            return
        outcome = Outcome.of_failure(error)
        if item.state is State.RUNNING:
            self.turns.recover(hold)
        elif item.state is not State.CLAIMED:
            outcome = replace(
                Outcome.from_data(item.outcome), code=error.code, message=error.message
            )
        try:
            self.desk.report(replace(item, outcome=outcome.to_data()))
        except ClaudeRunError as untold:
            if isinstance(untold, UpstreamError) and item.attempts < MAX_ATTEMPTS:
                raise
            log.warning("a failure was not told", work=item.key, reason=untold.message)
        hold.finish(State.FAILED, outcome=outcome.to_data())

    # --- the agent's run ---------------------------------------------------------------------

    def _run(self, hold: Hold) -> None:
        item = hold.item
        if item.told_waiting and not item.stop_requested:
            refusal = self.turns.registry.refusal()
            if refusal is not None:
                # Its comment says so. To be admitted anew would say that it begins.
                wait_for_quota(hold, refusal, now=self.turns.clock())
                return
        admission = self.desk.admit(item, self._asked(item))
        if not admission.allowed:
            hold.finish(State.DENIED)
            return
        if hold.interrupted:
            return
        prepared = self._prepared(item, admission)
        try:
            claim = hold.begin(
                session=prepared.key,
                branch=prepared.branch,
                comment=admission.comment,
                facts=prepared.facts,
                within=lambda tx: self._claim(tx, prepared),
            )
        except CallerError as error:
            if error.code is not Code.QUOTA_EXCEEDED:
                raise
            wait_for_quota(hold, error, now=self.turns.clock(), tell=self.desk.waiting)
            return
        except StoppedError as error:
            if error.code is not Code.CANCELLED:
                raise
            self._end_unbegun(hold, error)
            return
        progress = self.desk.progress(hold.item, admission)
        try:
            outcome = self.turns.drive(
                hold, claim, prepared.request.prompt, prepared.options, watch=progress.watch
            )
            hold.produced(outcome.to_data())
        finally:
            progress.close()

    def _prepared(self, item: WorkItem, admission: Admission) -> "_Prepared":
        asked = Asked.from_data(item.asked or {})
        talk = self._talk(item)
        key = key_of(ISSUES, f"issue-{talk.key}")
        session = self.turns.find(key)
        kept = session is not None and session.changes_version is not None
        source = self._source(asked, talk, admission, kept=kept)
        repository = {
            "url": f"{self.server_url}/{asked.repository.name}",
            "name": asked.repository.name,
            **source.revision,
        }
        body = {
            "prompt": admission.prompt,
            "options": dict(admission.options),
            "repository": repository,
        }
        request = parse(StartRequest, body)
        options = self.turns.options(request, session=session)
        options["github_token"] = SecretStr(self.tokens.token(asked.repository, _READ))
        if not source.keeps_changes:
            options.pop("changes", None)
        return _Prepared(
            key=key,
            session=session,
            request=request,
            options=options,
            branch=talk.branch or branch_name(asked),
            facts={
                **admission.facts,
                "turn": session.turn + 1 if session else 1,
                "before": (session.usage if session else Usage()).to_json(),
                "target": admission.base,
                "commentOnly": admission.comment_only,
                "shown": talk.shown if source.keeps_changes else None,
            },
        )

    def _source(
        self, asked: Asked, talk: Conversation, admission: Admission, *, kept: bool
    ) -> "_Source":
        """What the next turn begins with."""
        if talk.pull is None or talk.branch is None or talk.base is None:
            revision = {"branch": admission.base}
            if admission.head is not None:
                revision = {"commit": admission.head.sha}
            return _Source(revision=revision, keeps_changes=True)
        if not self.pulls.is_open(asked.repository, talk.pull):
            # What was changed is merged, or not wanted.
            return _Source(revision={"branch": admission.base}, keeps_changes=False)
        # Where the earlier changes are forgotten they are on the branch alone: on from its head.
        base = talk.base if kept else ""
        foreign = self.publisher.foreign_head(asked.repository, talk.branch, base)
        if foreign is not None:
            # It stands on ours.
            return _Source(revision={"commit": foreign}, keeps_changes=False)
        return _Source(revision={"commit": talk.base}, keeps_changes=True)

    def _claim(self, tx: Transaction, prepared: "_Prepared") -> Claim:
        registry, wanted = self.turns.registry, self.turns.wanted(prepared.options)
        request = prepared.request
        if prepared.session is not None:
            options = request.kept_options(prepared.session.options)
            return registry.next_turn_in(tx, prepared.key, options, wanted)
        now = self.turns.clock()
        session = Session(
            key=prepared.key,
            owner=ISSUES,
            session_id=prepared.key.partition(".")[2],
            status=Status.PROCESSING,
            turn=1,
            fence=1,
            lease_until=now + LEASE,
            created_at=now,
            last_activity_at=now,
            repository=request.public_repository(),
            options=request.kept_options(),
            kind=Kind.ISSUE,
        )
        return registry.start_in(tx, session, wanted)

    def _end_unbegun(self, hold: Hold, error: ClaudeRunError) -> None:
        outcome = Outcome.of_failure(error).to_data()
        self.desk.report(replace(hold.item, outcome=outcome))
        hold.finish(State.CANCELLED, outcome=outcome)

    # --- what came of it ---------------------------------------------------------------------

    def _publish(self, hold: Hold) -> None:
        item = hold.item
        outcome = Outcome.from_data(item.outcome)
        asked = Asked.from_data(item.asked or {})
        session = self.turns.find(item.session or "")
        changes = self.turns.changes(session, turn=item.facts["turn"]) if session else None
        if (
            changes is None
            or changes.base is None
            or outcome.code is Code.CANCELLED
            or item.facts["commentOnly"]
            or not _is_news(changes, item.facts.get("shown"))
        ):
            hold.published({"commentOnly": True})
            return
        title, _ = self.desk.title_and_body(item, [])
        published = self.publisher.publish(
            Publication(
                repository=asked.repository,
                base=changes.base,
                target=item.facts["target"],
                branch=item.branch or branch_name(asked),
                changes=changes,
                title=title,
                body=lambda held_back: self.desk.title_and_body(item, held_back)[1],
                draft=outcome.code is not None,
                message=title,
            ),
            proceed=hold.check,
        )
        updated = published.number is not None and published.number == self._talk(item).pull
        hold.published(_kept(published, changes, updated=updated))

    # --- stopping ----------------------------------------------------------------------------

    def _stop(self, hold: Hold) -> None:
        if not self.desk.may_stop(Asked.from_data(hold.item.asked or {})):
            hold.finish(State.DENIED)
            return
        current = self.claims.stop(hold.item)
        if current is not None and current.state is State.RUNNING and current.session is not None:
            self.turns.registry.cancel(current.session)
        hold.finish(State.DONE)

    # --- small things ------------------------------------------------------------------------

    def _asked(self, item: WorkItem) -> Sequence[Asked]:
        """What this item asks, and then those that are joined to it."""
        found = [stored.item(self.store, key) for key in item.joined]
        items = [item, *(one for one in found if one is not None)]
        asked = [Asked.from_data(one.asked) for one in items if one.asked is not None]
        # What is fresh may be nothing that this repository listens to: then the rest would be.
        if item.replays is None and self._talk(item).served:
            return [one.of_served_issue() for one in asked]
        return asked

    def _talk(self, item: WorkItem) -> Conversation:
        return stored.talk(self.store, item.conversation or "")


def _is_news(changes: Changes, shown: str | None) -> bool:
    """Whether these are not what the conversation's pull request shows already.

    Without a pull request, any are; where there is one, that nothing is left of it is news, too.
    """
    return bool(changes.files) if shown is None else shown != _digest(changes)


def _digest(changes: Changes) -> str:
    """The same for the same files, in whatever order."""
    files = sorted((one.raw_path.hex(), one.mode, one.content) for one in changes.files)
    return hashlib.sha256(json.dumps([changes.base, files]).encode()).hexdigest()


def _kept(published: Published, changes: Changes, *, updated: bool) -> dict[str, Any]:
    """A publication as the item keeps it; of many files the first ones, and how many there are."""
    return {
        "url": published.url,
        "number": published.number,
        "branch": published.branch,
        "commit": published.commit,
        "draft": published.draft,
        "updated": updated,
        "files": [path[:MAX_KEPT_PATH] for path in published.files[:MAX_KEPT]],
        "fileCount": len(published.files),
        "heldBack": [
            {"path": one.path[:MAX_KEPT_PATH], "rule": one.rule}
            for one in published.held_back[:MAX_KEPT]
        ],
        "heldBackCount": len(published.held_back),
        "commentOnly": published.url is None,
        "base": changes.base,
        "shown": DRAFT if published.draft else _digest(changes),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A branch or a commit, and whether earlier turns' changes are put on top of it."""

    revision: Mapping[str, str]
    keeps_changes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A turn that could begin."""

    key: str
    session: Session | None
    request: StartRequest
    options: dict[str, Any]
    branch: str
    facts: Mapping[str, Any]
