"""Which changes of a change set may be published. Pure.

The agent may have been talked into anything, so this trusts nothing that the runner has checked
before.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from claude_run.wire import FileChange
from gateway.github.names import (
    has_control_characters,
    is_git,
    is_read_by_git,
    leaves,
    link_leaves,
    shown,
)
from gateway.github.policy_settings import PolicySettings
from gateway.github.tree import entry, parents

LINK = "120000"
MODES = frozenset({"100644", "100755", LINK})

NOT_UTF8 = "its name is not UTF-8"
CONTROL = "its name holds characters that are not shown"
OUTSIDE = "its path leads outside the repository"
GIT = "its path is git's own"
MODE = "its mode is not one of a file's"
LINK_OUTSIDE = "it is a link that may lead outside the repository"
LINK_READ_BY_GIT = "it is a link in the place of a file that git reads"
BENEATH_FILE = "it lies beneath a file"
PROTECTED = "this place is protected"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """A change that is not published, and why. `path` is for people."""

    path: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is published, and what is not; both in the order of their paths."""

    allowed: tuple[FileChange, ...]
    held_back: tuple[HeldBack, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of a deployment."""

    settings: PolicySettings = field(default_factory=PolicySettings)

    def judge(self, changes: Sequence[FileChange]) -> Verdict:
        """Each change by itself, then how many there may be together, in the order of paths."""
        allowed, held_back = list[FileChange](), list[HeldBack]()
        room = _Room(self.settings)
        protected = tuple(_compiled(self.settings.protected))
        files = {change.raw_path for change in changes if not change.deleted}
        for change in sorted(changes, key=lambda one: one.raw_path):
            rule = _broken(change, files, protected) or room.broken(change)
            if rule is None:
                allowed.append(change)
            else:
                held_back.append(HeldBack(path=shown(change.raw_path), rule=rule))
        return Verdict(allowed=tuple(allowed), held_back=tuple(held_back))


def _broken(
    change: FileChange, files: set[bytes], protected: Sequence[re.Pattern[str]]
) -> str | None:
    """The first rule that a change breaks by itself."""
    try:
        path = change.raw_path.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    for rule, breaks in _NAMES:
        if breaks(path):
            return rule
    if not change.deleted and any(parent.encode() in files for parent in parents(path)):
        return BENEATH_FILE
    if any(pattern.fullmatch(_folded(path)) for pattern in protected):
        return PROTECTED
    return None if change.deleted else _unfit(change, path)


_NAMES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    (OUTSIDE, leaves),
    (GIT, lambda path: any(is_git(part) for part in path.split("/"))),
    (CONTROL, has_control_characters),
)


def _unfit(change: FileChange, path: str) -> str | None:
    if change.mode not in MODES:
        return MODE
    if change.mode == LINK:
        if is_read_by_git(path):
            return LINK_READ_BY_GIT
        if link_leaves(path, change.raw_content):
            return LINK_OUTSIDE
    return None


class _Room:
    """What is left of the bounds. A change that does not fit takes nothing."""

    def __init__(self, settings: PolicySettings) -> None:
        self._bounds = settings
        self._files = self._bytes = self._blobs = 0

    def broken(self, change: FileChange) -> str | None:
        """The first bound that a change would pass; otherwise it is counted."""
        bounds, size = self._bounds, len(change.raw_content)
        blobs = int(entry(change).blob is not None)
        if size > bounds.max_file_bytes:
            return f"it is larger than {bounds.max_file_bytes:,} bytes"
        if self._files >= bounds.max_files:
            return f"there are more than {bounds.max_files:,} changed files"
        if self._bytes + size > bounds.max_bytes:
            return f"all changes together are larger than {bounds.max_bytes:,} bytes"
        if self._blobs + blobs > bounds.max_blobs:
            return f"there are more than {bounds.max_blobs:,} binary or large files"
        self._files += 1
        self._bytes += size
        self._blobs += blobs
        return None


def _folded(path: str) -> str:
    """As a file system compares names that takes little notice of how they are written."""
    return unicodedata.normalize("NFC", path).casefold()


def _compiled(patterns: Sequence[str]) -> Iterator[re.Pattern[str]]:
    """What matches a pattern, what is beneath it, and what would take the place of its folders."""
    for pattern in patterns:
        parts = _folded(pattern).split("/")
        last = len(parts) - 1
        pieces = [_piece(part, last=number == last) for number, part in enumerate(parts)]
        yield re.compile("".join(pieces) + "(/.*)?", re.DOTALL)
        starred = (number for number, part in enumerate(parts) if "*" in part)
        for length in range(1, next(starred, last) + 1):
            yield re.compile(re.escape("/".join(parts[:length])))


def _piece(part: str, *, last: bool) -> str:
    if part == "**":
        return ".*" if last else "(.*/)?"
    return "[^/]*".join(re.escape(text) for text in part.split("*")) + ("" if last else "/")
