"""A checked-out commit without a server: files on disk, and the tree that git would list."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.git.changeset import Limits
from runner.git.clone import Clone
from runner.git.snapshot import Snapshot
from runner.git.tree import SYMLINK, Tree, TreeEntry

BASE = "ba5e" * 10

# Raw path → git's mode and the content (of a link: its target).
Files = Mapping[bytes, tuple[int, bytes]]


def write_files(folder: Path, files: Files) -> None:
    """Put these files and links into `folder`."""
    for path, (mode, content) in files.items():
        target = Path(os.fsdecode(os.fsencode(folder) + b"/" + path))
        target.parent.mkdir(parents=True, exist_ok=True)
        if mode == SYMLINK:
            target.symlink_to(os.fsdecode(content))
        else:
            target.write_bytes(content)
            target.chmod(mode & 0o777)


def read_files(folder: Path) -> dict[bytes, tuple[int, bytes]]:
    """Every file and link in `folder`, .git left out."""
    result: dict[bytes, tuple[int, bytes]] = {}
    top = os.fsencode(folder)
    for parent, folders, names in os.walk(top):
        if b".git" in folders:
            folders.remove(b".git")
        for name in names + folders:
            place = os.path.join(parent, name)  # noqa: PTH118 - raw bytes
            path = place[len(top) + 1 :]
            if os.path.islink(place):  # noqa: PTH114
                result[path] = (SYMLINK, os.readlink(place))  # noqa: PTH115
            elif name in names:
                mode = 0o100755 if os.stat(place).st_mode & 0o100 else 0o100644  # noqa: PTH116
                result[path] = (mode, Path(os.fsdecode(place)).read_bytes())
    return result


def tree_of(files: Files) -> Tree:
    """The tree of a commit that holds these files."""
    entries = {
        path: TreeEntry(mode, _blob_id(content), len(content))
        for path, (mode, content) in files.items()
    }
    folders: set[bytes] = set()
    for path in files:
        parts = path.split(b"/")
        folders |= {b"/".join(parts[:depth]) for depth in range(1, len(parts))}
    return Tree(entries=entries, folders=frozenset(folders))


def _blob_id(content: bytes) -> bytes:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkTree:
    """A workspace in which `files` were checked out, and the runner's folder beside it."""

    workspace: Path
    scratch: Path
    clone: Clone

    def snapshot(self, limits: Limits | None = None) -> Snapshot:
        """What the runner makes before it starts the agent."""
        return Snapshot(
            workspace=self.workspace, scratch=self.scratch, clone=self.clone, limits=limits
        )


def check_out(root: Path, files: Files) -> WorkTree:
    """A new work tree of these files beneath `root`."""
    workspace, scratch = root / "workspace", root / "scratch"
    for folder in (workspace, scratch):
        folder.mkdir(mode=0o700, parents=True)
    write_files(workspace, files)
    clone = Clone(base=BASE, branch="main", tree=tree_of(files), advice=None)
    return WorkTree(workspace=workspace, scratch=scratch, clone=clone)
