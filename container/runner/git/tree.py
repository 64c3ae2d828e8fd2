"""A commit's tree, as a listing in memory. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

REGULAR = 0o100644
EXECUTABLE = 0o100755
SYMLINK = 0o120000
SUBMODULE = 0o160000


class TreeEntry(NamedTuple):
    """One path of a tree: git's mode, the object's id, the size of a blob (0 for submodules)."""

    mode: int
    object_id: bytes
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Every path of a commit, raw, with what is there; `folders` are the paths above them."""

    entries: Mapping[bytes, TreeEntry] = field(default_factory=dict)
    algorithm: str = "sha1"
    folders: frozenset[bytes] = frozenset()

    @property
    def size(self) -> int:
        """How many bytes its blobs have together."""
        return sum(entry.size for entry in self.entries.values())


def parse_tree(listing: bytes) -> Tree:
    """Read what `git ls-tree -r -z -l --full-tree` prints."""
    entries: dict[bytes, TreeEntry] = {}
    folders: set[bytes] = set()
    width = 40
    for line in listing.split(b"\0")[:-1]:
        facts, _, path = line.partition(b"\t")
        mode, _kind, name, size = facts.split()
        width = len(name)
        entries[path] = TreeEntry(
            int(mode, 8), bytes.fromhex(name.decode()), 0 if size == b"-" else int(size)
        )
        parent = path.rpartition(b"/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition(b"/")[0]
    algorithm = "sha256" if width == 64 else "sha1"
    return Tree(entries=entries, algorithm=algorithm, folders=frozenset(folders))
