"""Names that git itself refuses, or that say something else than they show. Pure.

After git's own `is_ntfs_dotgit`, `is_hfs_dotgit` and `fsck`: what looks harmless in a tree is
`.git` once it is checked out on Windows or macOS.
"""

import re

# HFS+ ignores these in names (git's `next_hfs_char`).
_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
# NTFS drops dots and spaces at the end, and takes what is behind a colon for a stream; a
# backslash is a slash there.
_DOT_GIT = re.compile(r"(\.git|git~1)[ .]*([:\\].*)?", re.IGNORECASE | re.DOTALL)
# Also the marks with which text runs backwards.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_DRIVE = re.compile(rb"[A-Za-z]:")
# Read by git where they are, so git does not follow a link in their place.
_READ_BY_GIT = frozenset({".gitmodules", ".gitattributes", ".gitignore", ".mailmap"})


def is_git(part: str) -> bool:
    """Whether a part of a path is `.git` on some file system."""
    plain = _IGNORED.sub("", part)
    return any(
        _DOT_GIT.fullmatch(piece) is not None
        for name in (part, plain)
        for piece in (name, *name.split("\\"))
    )


def has_control_characters(path: str) -> bool:
    """Whether a path would not be shown as it is."""
    return _CONTROL.search(path) is not None


def leaves(path: str) -> bool:
    """Whether a path is absolute, or goes through `.` or `..`, on some file system."""
    parts = path.replace("\\", "/").split("/")
    return any(part in ("", ".", "..") for part in parts)


def link_leaves(path: str, target: bytes) -> bool:
    """Whether a link may lead out of the tree, or to what git keeps there.

    It may go up as far as the top, then down. Down and up again it may not: on its way it could
    pass another link.
    """
    parts = target.replace(b"\\", b"/").split(b"/")
    if not target or b"\0" in target or not parts[0] or _DRIVE.match(target):
        return True
    up = 0
    while up < len(parts) and parts[up] in (b".", b".."):
        up += 1
    if parts[:up].count(b"..") > path.count("/") or b".." in parts[up:]:
        return True
    return any(is_git(part.decode("utf-8", "replace")) for part in parts[up:])


def is_read_by_git(path: str) -> bool:
    """Whether git reads a file of this name for itself."""
    return _IGNORED.sub("", path.rpartition("/")[2]).lower() in _READ_BY_GIT


def shown(path: bytes) -> str:
    """A path for people: what cannot be shown is replaced."""
    return _CONTROL.sub("\ufffd", path.decode("utf-8", "replace"))
