"""A repository's commit in the run's workspace, and what the runner remembers of it.

The token is gone when `clone` returns: what needs the network has ended, and the rest runs on
what was fetched. The agent gets a real, shallow `.git`; the runner keeps the commit's tree in
memory and does not ask that `.git` again.
"""

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from claude_run.errors import UpstreamError
from claude_run.wire import BRANCH_PATTERN
from runner.cancellation import to_the_end
from runner.git.advice import read_advice
from runner.git.command import (
    GitError,
    GitFailedError,
    GitTimeoutError,
    Network,
    run_git,
)
from runner.git.failures import clone_failure, failed
from runner.git.source import CloneSource
from runner.git.tree import Tree, parse_tree

# A pack is compressed: what it may become is bounded by the next two, before the checkout.
MAX_PACK_BYTES = 1 << 30
MAX_CHECKOUT_BYTES = 2 << 30
MAX_TREE_FILES = 100_000
_MAX_LISTING_BYTES = 32 << 20

# GitHub's name for "the password is an installation token"; other hosts do not mind.
_USER = "x-access-token"

_PROGRESS = re.compile(r"(Receiving objects|Resolving deltas|Updating files): +[0-9]{1,3}%.{0,80}")

# Highest in precedence, above every .gitattributes: files are checked out, compared and committed
# byte for byte. Otherwise `eol`, `ident` or an encoding would make a work tree that differs from
# the commit it was made from, and every such file a change of the agent's. Filters (LFS too) have
# no command configured anyway; so their pointers stay what they are.
_ATTRIBUTES = "* -text !eol !crlf !ident !filter !working-tree-encoding\n"

# So that `git commit` works for the agent. Its commits stay here: only files leave.
_IDENTITY = "[user]\n\tname = Claude\n\temail = noreply@anthropic.com\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    """What was checked out: the commit's id, the branch HEAD is on, its files, its advice."""

    base: str
    branch: str | None
    tree: Tree
    advice: str | None


async def clone(
    source: CloneSource,
    *,
    workspace: Path,
    token: str | None,
    time_limit: float,
    owner: tuple[int, int] | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Clone:
    """Check `source` out into `workspace`, an existing empty directory; give it to `owner`.

    Raises an error of `CLONE_FAILED` with a sentence for the user. `on_progress` gets lines such
    as `Receiving objects: 42% (21/50)`. What a failure leaves in the workspace is the caller's
    to remove.
    """
    network = Network(
        origin=source.origin,
        credential=_credential(token),
        max_file_bytes=MAX_PACK_BYTES,
    )
    download = _Download(network=network, time_limit=time_limit, on_progress=on_progress)
    try:
        async with asyncio.timeout(time_limit):
            if source.commit is None:
                await _clone_tip(source, workspace, download)
            else:
                await _fetch_commit(source, source.commit, workspace, download)
            return await _check_out(source, workspace, owner)
    except (TimeoutError, GitTimeoutError):
        sentence = f"The clone took longer than {time_limit:g} seconds."
        raise failed(sentence, source, error=UpstreamError) from None
    except GitFailedError as error:
        raise clone_failure(error.result.stderr, source) from None
    except GitError:
        raise failed("The repository has more files than this runner clones.", source) from None


def _credential(token: str | None) -> bytes | None:
    if token is None:
        return None
    # One line each in git's protocol; a line break would be a second answer.
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ValueError("a token is visible ASCII")
    return f"username={_USER}\npassword={token}\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Download:
    """The git commands that may use the network, and the token."""

    network: Network
    time_limit: float
    on_progress: Callable[[str], None] | None

    async def git(self, args: Sequence[str], *, git_dir: Path | None = None) -> None:
        await run_git(
            args,
            git_dir=git_dir,
            network=self.network,
            time_limit=self.time_limit,
            on_line=self._on_line,
        )

    def _on_line(self, line: str) -> None:
        # What the server says (`remote: …`) is not passed on: it is anybody's text.
        if self.on_progress is not None and (match := _PROGRESS.match(line)):
            self.on_progress(match[0])


async def _clone_tip(source: CloneSource, workspace: Path, download: _Download) -> None:
    branch = [f"--branch={source.branch}"] if source.branch else []
    await download.git(
        ["clone", "--no-checkout", "--depth=1", "--single-branch", "--no-tags", "--template=",
         "--progress", *branch, "--", source.url, str(workspace)]
    )  # fmt: skip


async def _fetch_commit(
    source: CloneSource, commit: str, workspace: Path, download: _Download
) -> None:
    """A commit that need not be a tip: `git clone` cannot name it, `git fetch` can."""
    git_dir = workspace / ".git"
    algorithm = "sha256" if len(commit) == 64 else "sha1"
    await run_git(
        ["init", "--quiet", "--template=", f"--object-format={algorithm}",
         f"--initial-branch={source.branch or 'main'}", "--", str(workspace)]
    )  # fmt: skip
    # The URL was checked: no quote, backslash, blank or comment sign is in it.
    remote = f'[remote "origin"]\n\turl = {source.url}\n'
    _append(git_dir / "config", remote + "\tfetch = +refs/heads/*:refs/remotes/origin/*\n")
    await download.git(
        ["fetch", "--depth=1", "--no-tags", "--progress", "origin", commit], git_dir=git_dir
    )
    # Without a branch HEAD is detached; with one, it is the branch that is made here.
    detach = [] if source.branch else ["--no-deref"]
    await run_git(["update-ref", *detach, "HEAD", commit], git_dir=git_dir)


async def _check_out(source: CloneSource, workspace: Path, owner: tuple[int, int] | None) -> Clone:
    git_dir = workspace / ".git"
    base, branch = await _head(source, git_dir)
    listing = await run_git(
        ["ls-tree", "-r", "-z", "-l", "--full-tree", base],
        git_dir=git_dir,
        max_output=_MAX_LISTING_BYTES,
    )
    tree = parse_tree(listing.stdout)
    if len(tree.entries) > MAX_TREE_FILES:
        raise failed("The repository has more files than this runner clones.", source)
    if tree.size > MAX_CHECKOUT_BYTES:
        raise failed("The repository is larger than this runner clones.", source)
    (git_dir / "info").mkdir(exist_ok=True)
    (git_dir / "info" / "attributes").write_text(_ATTRIBUTES)
    _append(git_dir / "config", _IDENTITY)
    # Not `git checkout`, which has a hook; not `reset`, which moves a branch.
    await run_git(["read-tree", "--reset", "-u", base], git_dir=git_dir, work_tree=workspace)
    if owner is not None:
        await to_the_end(asyncio.to_thread(_give_away, workspace, owner))
    return Clone(base=base, branch=branch, tree=tree, advice=read_advice(workspace, tree))


async def _head(source: CloneSource, git_dir: Path) -> tuple[str, str | None]:
    """The commit that HEAD is, and the branch it stands on."""
    try:
        result = await run_git(
            ["rev-parse", "--verify", "--end-of-options", "HEAD^{commit}"], git_dir=git_dir
        )
    except GitFailedError:
        raise failed("The repository has no commit to work from.", source) from None
    base = result.stdout.decode("ascii").strip()
    if source.commit not in (None, base):
        raise failed(f"The repository has no commit {source.commit}: that is a tag.", source)
    name = await run_git(["symbolic-ref", "--quiet", "HEAD"], git_dir=git_dir, accept=(0, 1))
    branch = name.stdout.decode("utf-8", "replace").strip().removeprefix("refs/heads/")
    return base, branch if re.fullmatch(BRANCH_PATTERN, branch) else None


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def _give_away(workspace: Path, owner: tuple[int, int]) -> None:
    """Make everything the run's user's; links themselves, not what they point to."""
    for _, folders, files, descriptor in os.fwalk(os.fsencode(workspace), follow_symlinks=False):
        os.fchown(descriptor, *owner)
        # A link to a folder is listed among the folders, and not walked into.
        for name in folders + files:
            os.chown(name, *owner, dir_fd=descriptor, follow_symlinks=False)
