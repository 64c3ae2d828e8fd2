"""Which new paths git would ignore: git is asked, about copies of the ignore files.

git itself would read each `.gitignore` through its path, wait for ever at one that is a FIFO, and
load one of any size: under the agent's hands, as root. So the rules are copied, through
descriptors and within limits, into a private tree in which there is nothing but they and empty
folders, and git judges the paths there. The rules are those of the work tree, as for `git status`:
an agent that adds a build folder and a rule for it is understood. `.git/info/exclude` and the
user's own excludes play no part.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from runner.cancellation import to_the_end
from runner.git import beneath
from runner.git.changeset import Omissions
from runner.git.command import GitError, run_git
from runner.git.walk import IGNORE_FILE, Found

MAX_IGNORE_FILE_BYTES = 256 << 10
MAX_IGNORE_BYTES = 4 << 20
# Matching a pattern against a path can be made slow by who writes the pattern.
IGNORE_SECONDS = 10.0


class IgnoreRules:
    """The ignore rules of one work tree, as one walk through it finds them."""

    def __init__(self, scratch: Path) -> None:
        """Keep copies beneath `scratch`, an existing private folder, only this object's."""
        self._git_dir = scratch / "ignore.git"
        self._tree = scratch / "ignore"
        self._rules: dict[bytes, bytes] = {}
        self._written: set[bytes] = set()
        self._size = 0
        # The least that git takes for a repository; nothing in it is configured.
        for folder in ("objects", "refs"):
            (self._git_dir / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._git_dir / "HEAD").write_text("ref: refs/heads/main\n")

    def begin(self) -> None:
        """Forget the last walk: what was a folder may be a file now."""
        shutil.rmtree(self._tree, ignore_errors=True)
        self._tree.mkdir(mode=0o700)
        self._rules.clear()
        self._written.clear()
        self._size = 0

    def read(
        self, root: int, ignore_files: Mapping[bytes, Found], *, owner: int, omissions: Omissions
    ) -> None:
        """Take over the ignore files of these folders beneath `root`."""
        for folder, found in ignore_files.items():
            path = folder + b"/" + IGNORE_FILE if folder else IGNORE_FILE
            if found.size > min(MAX_IGNORE_FILE_BYTES, MAX_IGNORE_BYTES - self._size):
                omissions.add("IGNORE_FILE", path)
                continue
            # Gone or another since it was listed: the next snapshot sees what it is.
            with suppress(OSError):
                self._rules[path] = _read(root, folder, owner=owner, limit=found.size)
                self._size += found.size

    async def ignored(
        self, files: Sequence[bytes], folders: Sequence[bytes], *, omissions: Omissions
    ) -> frozenset[bytes]:
        """Which of these untracked paths are ignored; none, with a warning, if git cannot say."""
        if not self._rules or not (files or folders):
            return frozenset()
        # To the end: who is cancelled removes the folder next, and nothing may write there then.
        await to_the_end(asyncio.to_thread(self._lay_out, folders))
        # ./ because a name may look like a pathspec's magic.
        asked = [b"./" + path for path in (*files, *folders)]
        try:
            result = await run_git(
                ["check-ignore", "-z", "--stdin", "--no-index"],
                git_dir=self._git_dir,
                work_tree=self._tree,
                cwd=self._tree,
                stdin=b"\0".join(asked) + b"\0",
                time_limit=IGNORE_SECONDS,
                max_output=sum(len(path) + 1 for path in asked),
                accept=(0, 1),
            )
        except GitError:
            omissions.add("IGNORE_FILE", IGNORE_FILE)
            return frozenset()
        return frozenset(path[2:] for path in result.stdout.split(b"\0") if path)

    def _lay_out(self, folders: Sequence[bytes]) -> None:
        """Write what was read, and make the folders: `name/` as a rule is about folders only.

        Asking for `name/` instead would not do: to git that is also a path that `name/*` matches.
        """
        for path in self._rules.keys() - self._written:
            copy = self._tree / os.fsdecode(path)
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            copy.write_bytes(self._rules[path])
            self._written.add(path)
        for folder in folders:
            (self._tree / os.fsdecode(folder)).mkdir(mode=0o700, parents=True, exist_ok=True)


def _read(root: int, folder: bytes, *, owner: int, limit: int) -> bytes:
    with (
        beneath.directory(root, folder) as parent,
        beneath.regular_file(parent, IGNORE_FILE, owner=owner) as (descriptor, _),
        open(descriptor, "rb", closefd=False) as file,
    ):
        return file.read(limit)
