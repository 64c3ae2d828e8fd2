"""Which new paths git would ignore: git is asked, about copies of the ignore files.

git itself would read each `.gitignore` through its path, wait for ever at one that is a FIFO, and
load one of any size: under the agent's hands, as root. So the rules are copied, through
descriptors and within limits, into a private tree that has nothing else in it, and git judges
paths that exist only by name there. The rules are those of the work tree, as for `git status`: an
agent that adds a build folder and a rule for it is understood. `.git/info/exclude` and the user's
own excludes play no part.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from runner.git import beneath
from runner.git.changeset import Omissions
from runner.git.command import GitError, run_git
from runner.git.walk import IGNORE_FILE, Found, StatKey

MAX_IGNORE_FILE_BYTES = 256 << 10
MAX_IGNORE_BYTES = 4 << 20
# Matching a pattern against a path can be made slow by who writes the pattern.
IGNORE_SECONDS = 10.0


class IgnoreRules:
    """The ignore rules of one work tree, as of its last listing."""

    def __init__(self, scratch: Path) -> None:
        """Keep copies beneath `scratch`, an existing private directory."""
        self._git_dir = scratch / "ignore.git"
        self._tree = scratch / "ignore"
        self._copied: dict[bytes, StatKey] = {}
        self._sizes: dict[bytes, int] = {}

    def prepare(self) -> None:
        """Make the least that git takes for a repository; nothing in it is configured."""
        self._tree.mkdir(mode=0o700, exist_ok=True)
        for folder in ("objects", "refs"):
            (self._git_dir / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._git_dir / "HEAD").write_text("ref: refs/heads/main\n")

    def update(
        self,
        root: int,
        ignore_files: Mapping[bytes, Found | None],
        *,
        owner: int,
        omissions: Omissions,
    ) -> None:
        """Bring the copies of these folders' rules up to date with what lies beneath `root`."""
        for folder, found in ignore_files.items():
            if found is not None and self._copied.get(folder) == found.key:
                continue
            self._forget(folder)
            if found is None:
                continue
            path = folder + b"/" + IGNORE_FILE if folder else IGNORE_FILE
            room = MAX_IGNORE_BYTES - sum(self._sizes.values())
            if found.size > min(MAX_IGNORE_FILE_BYTES, room):
                omissions.add("IGNORE_FILE", path)
                continue
            try:
                content = _read(root, folder, owner=owner, limit=found.size)
            except OSError:
                continue  # the listing or the next snapshot says what became of it
            self._write(path, content)
            self._copied[folder] = found.key
            self._sizes[folder] = len(content)

    def _forget(self, folder: bytes) -> None:
        if self._copied.pop(folder, None) is not None:
            del self._sizes[folder]
            with suppress(FileNotFoundError):
                (self._tree / os.fsdecode(folder) / os.fsdecode(IGNORE_FILE)).unlink()

    def _write(self, path: bytes, content: bytes) -> None:
        copy = self._tree / os.fsdecode(path)
        # A folder may be named like an ignore file, and what was one be the other now.
        if copy.is_dir():
            shutil.rmtree(copy)
            below = [folder for folder in self._copied if (folder + b"/").startswith(path + b"/")]
            for folder in below:
                del self._copied[folder], self._sizes[folder]
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy.write_bytes(content)

    async def ignored(
        self, files: Sequence[bytes], folders: Sequence[bytes], *, omissions: Omissions
    ) -> frozenset[bytes]:
        """Which of these untracked paths are ignored; none, with a warning, if git cannot say."""
        if not self._copied or not (files or folders):
            return frozenset()
        # ./ because a name may look like a pathspec's magic; / because a folder is none here.
        asked = [b"./" + path for path in files] + [b"./" + path + b"/" for path in folders]
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
        return frozenset(path[2:].rstrip(b"/") for path in result.stdout.split(b"\0") if path)


def _read(root: int, folder: bytes, *, owner: int, limit: int) -> bytes:
    with (
        beneath.directory(root, folder) as parent,
        beneath.regular_file(parent, IGNORE_FILE, owner=owner) as (descriptor, _),
        open(descriptor, "rb", closefd=False) as file,
    ):
        return file.read(limit)
