"""Reaching what lies beneath a directory without ever following a symbolic link.

A path is a question that the agent can answer anew between any two system calls. So every step
is taken from the descriptor of the last one, with O_NOFOLLOW: whatever is swapped meanwhile, what
is opened lies in the tree.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO that took a file's place must not wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_directory(path: str | bytes | os.PathLike[str], *, parent: int | None = None) -> int:
    """A descriptor of a directory whose last component is no link; the caller closes it."""
    return os.open(path, _DIRECTORY, dir_fd=parent)


@contextmanager
def directory(root: int, path: bytes) -> Iterator[int]:
    """A descriptor of the directory at `path` beneath `root`, for the length of the block."""
    current = os.dup(root)
    try:
        for part in path.split(b"/") if path else ():
            child = os.open(part, _DIRECTORY, dir_fd=current)
            os.close(current)
            current = child
        yield current
    finally:
        os.close(current)


@contextmanager
def regular_file(parent: int, name: bytes, *, owner: int) -> Iterator[tuple[int, os.stat_result]]:
    """A descriptor of a regular file that belongs to `owner`, for the length of the block.

    Anything else raises `OSError`. The owner matters where we read as root: a hard link into the
    tree would otherwise hand out what the agent itself may not read.
    """
    descriptor = os.open(name, _FILE, dir_fd=parent)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise FileNotFoundError("what was a file is none any more")
        if facts.st_uid != owner:
            raise PermissionError("it belongs to somebody else")
        yield descriptor, facts
    finally:
        os.close(descriptor)
