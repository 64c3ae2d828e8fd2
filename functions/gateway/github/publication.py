"""A change set as a commit, a branch and a pull request, by GitHub's API alone.

Every step looks first for what an earlier try has left, so a crash anywhere is followed by the
same result. Nothing that somebody else has pushed is ever written over.
"""

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

import structlog
from github import GithubException, InputGitTreeElement, UnknownObjectException
from github.GitCommit import GitCommit
from github.GitTree import GitTree
from github.PullRequest import PullRequest
from github.Repository import Repository
from requests import RequestException

from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError
from claude_run.wire import Changes
from gateway.github.access import GitHubAccess
from gateway.github.asked import RepositoryRef
from gateway.github.failures import given, said, translated
from gateway.github.marks import MAX_TITLE, is_ours, is_unedited, marked, signed_message
from gateway.github.policy import HeldBack, Policy, Verdict
from gateway.github.tokens import Permissions
from gateway.github.tree import Entry, entry, requests

log = structlog.get_logger()

PERMISSIONS: Permissions = {"contents": "write", "pull_requests": "write"}
# A branch that moves while we write to it is looked at again; so is one whose answer was lost.
MAX_TRIES = 3
# `name`, `name-2`, …: where somebody else has pushed to the one before.
MAX_BRANCHES = 5
# Commits of others on top of ours, beneath which a second try still finds its own.
MAX_ON_TOP = 20
MAX_PULLS = 100
TRY_AGAIN_SECONDS = 1.0
# GitHub takes 80 requests a minute that create content: more than this are paced.
UNPACED_BLOBS = 40
PACE_SECONDS = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What is to be published.

    `base`: the commit that the change set is against, whole, also on later turns. `target`: the
    branch that the pull request goes into. `branch`: the one that is ours. `body` is given what
    is held back. `key`: whose work it is, where others may have a branch of the same name.
    """

    repository: RepositoryRef
    base: str
    target: str
    branch: str
    changes: Changes
    title: str
    body: Callable[[Sequence[HeldBack]], str]
    message: str
    draft: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What stands on GitHub now. Without changes there is no commit and no pull request.

    `branch` is another one than was asked for where somebody else has pushed to that.
    """

    branch: str
    commit: str | None = None
    url: str | None = None
    number: int | None = None
    draft: bool = False
    files: tuple[str, ...] = ()
    held_back: tuple[HeldBack, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Publishes; keeps nothing. `sleep` waits where GitHub is asked often."""

    access: GitHubAccess
    policy: Policy
    sleep: Callable[[float], None] = time.sleep

    def publish(
        self,
        publication: Publication,
        *,
        token: str | None = None,
        proceed: Callable[[], None] = lambda: None,
    ) -> Published:
        """Publish, or find what was published before.

        `token`: somebody's own, instead of the App's. `proceed` is called before each request,
        and may raise what ends it.
        """
        verdict = self.policy.judge(publication.changes.files)
        with self._opened(publication.repository, token) as repository:
            work = _Work(
                repository=repository,
                publication=publication,
                verdict=verdict,
                proceed=proceed,
                sleep=self.sleep,
            )
            return work.done()

    def foreign_head(
        self,
        repository: RepositoryRef,
        branch: str,
        base: str,
        *,
        key: str = "",
        token: str | None = None,
    ) -> str | None:
        """The commit that somebody else has pushed to a branch of ours, or None.

        A next turn begins there, with it as its `base` and without earlier changes: then its
        commit comes on top, and nothing of theirs is lost.
        """
        with self._opened(repository, token) as opened:
            head = _head(opened, branch)
            if head is None or head.sha == base or _ours(head, branch, base, key):
                return None
            return head.sha

    @contextmanager
    def _opened(self, repository: RepositoryRef, token: str | None) -> Iterator[Repository]:
        with translated():
            if token is None:
                yield self.access.repository(repository, PERMISSIONS)
                return
            with self.access.for_token(token) as client:
                yield client.get_repo(repository.name)


@dataclass(slots=True, kw_only=True)
class _Work:
    """One try."""

    repository: Repository
    publication: Publication
    verdict: Verdict
    proceed: Callable[[], None]
    sleep: Callable[[float], None]
    _commits: dict[tuple[str, str], GitCommit] = field(default_factory=dict)

    def done(self) -> Published:
        asked = self.publication
        entries = [entry(change) for change in self.verdict.allowed]
        nothing = Published(branch=asked.branch, held_back=self.verdict.held_back)
        base = self._base()
        tree = self._tree(base.tree, entries)
        if tree.sha == base.tree.sha and self._untouched(asked.branch, base):
            return nothing
        branch, commit = self._branch(base, tree)
        pull = self._pull(branch, commit)
        return Published(
            branch=branch,
            commit=commit,
            url=pull.html_url,
            number=pull.number,
            draft=pull.draft,
            files=tuple(one.path for one in entries),
            held_back=self.verdict.held_back,
        )

    # --- the tree ----------------------------------------------------------------------------

    def _base(self) -> GitCommit:
        self.proceed()
        try:
            return self.repository.get_git_commit(self.publication.base)
        except GithubException as error:
            if error.status not in (404, 422):
                raise
            raise CallerError(
                "The commit that the changes are against is not on GitHub any more.",
                code=Code.CONFLICT,
                details={"commit": self.publication.base},
            ) from None

    def _tree(self, tree: GitTree, entries: Sequence[Entry]) -> GitTree:
        blobs = self._blobs(entries)
        for request in requests(entries):
            self.proceed()
            elements = [_element(one, blobs) for one in request]
            tree = self.repository.create_git_tree(elements, base_tree=tree)
            # The next one would stand on nothing, and everything else in the repository be gone.
            given(tree.sha)
        return tree

    def _blobs(self, entries: Sequence[Entry]) -> dict[bytes, str]:
        """What each content is called."""
        contents = dict.fromkeys(one.blob for one in entries if one.blob is not None)
        made = dict[bytes, str]()
        for content in contents:
            self.proceed()
            if len(contents) > UNPACED_BLOBS:
                self.sleep(PACE_SECONDS)
            text = base64.b64encode(content).decode()
            made[content] = given(self.repository.create_git_blob(text, "base64").sha)
        return made

    # --- the branch --------------------------------------------------------------------------

    def _branch(self, base: GitCommit, tree: GitTree) -> tuple[str, str]:
        """The branch that holds the tree now, and our commit there."""
        asked = self.publication.branch
        for number in range(1, MAX_BRANCHES + 1):
            name = asked if number == 1 else f"{asked}-{number}"
            head = self._written(name, base, tree)
            if head is not None:
                return name, head
            log.warning("branch has commits of others", branch=name)
        raise CallerError(
            f"Somebody else has pushed to {asked} and to every branch named after it.",
            code=Code.CONFLICT,
            details={"branch": asked},
        )

    def _written(self, name: str, base: GitCommit, tree: GitTree) -> str | None:
        """Our commit on a branch that holds the tree; None: it is others' now."""
        failure: Exception | None = None
        for _ in range(MAX_TRIES):
            head = self._head(name)
            if head is not None:
                if head.sha != base.sha and not self._ours(head, name, base):
                    return self._beneath(head, name, base, tree)
                if head.tree.sha == tree.sha:
                    return head.sha
            commit = self._commit(name, base, tree, head or base)
            try:
                self._move(name, commit, create=head is None)
            except (GithubException, RequestException) as error:
                failure = _worth_another_look(error)
                self.sleep(TRY_AGAIN_SECONDS)
            else:
                return commit.sha
        assert failure is not None  # noqa: S101 - every try but a successful one has one
        raise failure

    def _head(self, name: str) -> GitCommit | None:
        self.proceed()
        return _head(self.repository, name)

    def _untouched(self, name: str, base: GitCommit) -> bool:
        head = self._head(name)
        return head is None or head.sha == base.sha

    def _beneath(self, head: GitCommit, name: str, base: GitCommit, tree: GitTree) -> str | None:
        """Our commit with the tree, where others have pushed on top of it already."""
        commit = head
        for _ in range(MAX_ON_TOP):
            if commit.sha == base.sha or len(commit.parents) != 1:
                return None
            self.proceed()
            commit = self.repository.get_git_commit(commit.parents[0].sha)
            if commit.tree.sha == tree.sha and self._ours(commit, name, base):
                return commit.sha
        return None

    def _ours(self, commit: GitCommit, name: str, base: GitCommit) -> bool:
        return _ours(commit, name, base.sha, self.publication.key)

    def _commit(self, name: str, base: GitCommit, tree: GitTree, parent: GitCommit) -> GitCommit:
        made = self._commits.get((name, parent.sha))
        if made is None:
            self.proceed()
            # Neither author nor committer: then GitHub signs it, and shows it as verified.
            made = self._commits[name, parent.sha] = self.repository.create_git_commit(
                signed_message(
                    self.publication.message,
                    key=self.publication.key,
                    branch=name,
                    base=base.sha,
                    tree=tree.sha,
                    parent=parent.sha,
                ),
                tree,
                [parent],
            )
        return made

    def _move(self, name: str, commit: GitCommit, *, create: bool) -> None:
        self.proceed()
        if create:
            ref = self.repository.create_git_ref(f"refs/heads/{name}", commit.sha)
        else:
            ref = self.repository.get_git_ref(f"heads/{name}")
            ref.edit(commit.sha, force=False)
        # Without its branch a pull request would be refused for good.
        given(commit.sha if ref.object.sha == commit.sha else None)

    # --- the pull request --------------------------------------------------------------------

    def _pull(self, branch: str, commit: str) -> PullRequest:
        failure: Exception | None = None
        draft = self.publication.draft
        for _ in range(MAX_TRIES):
            pull = self._found(branch, commit)
            if pull is not None:
                return self._brought_up(pull)
            try:
                return self._opened_pull(branch, draft=draft)
            except (GithubException, RequestException) as error:
                failure = _worth_another_look(error)
                # Private repositories of some plans have no drafts.
                draft = draft and "draft" not in str(failure.details.get("github")).lower()
                self.sleep(TRY_AGAIN_SECONDS)
        assert failure is not None  # noqa: S101 - every try but a successful one has one
        raise failure

    def _found(self, branch: str, commit: str) -> PullRequest | None:
        """The branch's pull request: an open one, or a closed one that showed this commit."""
        self.proceed()
        label = f"{self.repository.owner.login}:{branch}"
        pulls = list(islice(self.repository.get_pulls(state="all", head=label), MAX_PULLS))
        wanted = [pull for pull in pulls if pull.state == "open"]
        wanted.sort(key=lambda pull: pull.base.ref != self.publication.target)
        wanted += [pull for pull in pulls if pull.state != "open" and pull.head.sha == commit]
        return wanted[0] if wanted else None

    def _opened_pull(self, branch: str, *, draft: bool) -> PullRequest:
        self.proceed()
        pull = self.repository.create_pull(
            self.publication.target,
            branch,
            title=self.publication.title[:MAX_TITLE],
            body=self._body(),
            draft=draft,
        )
        # It may be there all the same: the next try finds it.
        given(pull.html_url)
        given(pull.number)
        return pull

    def _brought_up(self, pull: PullRequest) -> PullRequest:
        """A pull request from before, with what is held back now; its title stays."""
        body = self._body()
        if pull.state == "open" and pull.body != body and is_unedited(pull.body or ""):
            self.proceed()
            pull.edit(body=body)
        if pull.state == "open" and pull.draft and not self.publication.draft:
            self._made_ready(pull)
        return pull

    def _made_ready(self, pull: PullRequest) -> None:
        self.proceed()
        try:
            pull.mark_ready_for_review()
        except GithubException as error:
            # Whoever reads it can do that with one click, and everything else is done.
            log.warning("draft stays a draft", pull=pull.number, github=said(error))

    def _body(self) -> str:
        return marked(self.publication.body(self.verdict.held_back))


def _head(repository: Repository, branch: str) -> GitCommit | None:
    try:
        found = repository.get_git_ref(f"heads/{branch}").object
    except UnknownObjectException:
        return None
    return repository.get_git_commit(found.sha)


def _ours(commit: GitCommit, branch: str, base: str, key: str) -> bool:
    return is_ours(
        commit.message,
        key=key,
        branch=branch,
        base=base,
        tree=commit.tree.sha,
        parents=tuple(parent.sha for parent in commit.parents),
    )


def _element(one: Entry, blobs: dict[bytes, str]) -> InputGitTreeElement:
    if one.text is not None:
        return InputGitTreeElement(one.path, one.mode, "blob", content=one.text)
    sha = blobs[one.blob] if one.blob is not None else None
    return InputGitTreeElement(one.path, one.mode, "blob", sha=sha)


def _worth_another_look(error: Exception) -> ClaudeRunError:
    """The failure as ours, where it may mean that it is done already; otherwise it is raised."""
    try:
        with translated():
            raise error
    except UpstreamError as failure:
        if failure.code is not Code.UNAVAILABLE:
            raise
        return failure
    except CallerError as failure:
        if failure.status != 422:
            raise
        return failure
