"""Listing a work tree that its owner may be changing at this very moment.

Level by level, because what git ignores is asked for a level at once, and an ignored folder
(node_modules, a virtual environment) is not walked into.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from runner.git import beneath
from runner.git.changeset import MAX_DEPTH, MAX_PATH_BYTES, Limits, Omissions
from runner.git.tree import EXECUTABLE, REGULAR, SUBMODULE, SYMLINK, Tree

IGNORE_FILE = b".gitignore"

StatKey = tuple[int, int, int, int, int]


class Found(NamedTuple):
    """A file or link in the work tree; `key` changes whenever its content does."""

    mode: int
    size: int
    key: StatKey


@dataclass(slots=True)
class Listing:
    """What a walk has seen so far.

    `unknown` are folders that could not be looked into, or not to their end: nothing beneath them
    may be called deleted.
    """

    files: dict[bytes, Found] = field(default_factory=dict)
    unknown: set[bytes] = field(default_factory=set)
    omissions: Omissions = field(default_factory=Omissions)
    seen: int = 0

    def is_unknown(self, path: bytes) -> bool:
        """Whether `path` lies in a folder that was not seen whole."""
        if not self.unknown:
            return False
        if b"" in self.unknown:
            return True
        while path:
            if path in self.unknown:
                return True
            path = path.rpartition(b"/")[0]
        return False


@dataclass(slots=True)
class Level:
    """The entries of one depth: what counts already, and what depends on the ignore rules.

    `ignore_files` are the .gitignore files that were found, by their folder.
    """

    folders: list[bytes] = field(default_factory=list)
    new_files: dict[bytes, Found] = field(default_factory=dict)
    new_folders: list[bytes] = field(default_factory=list)
    ignore_files: dict[bytes, Found] = field(default_factory=dict)


def stat_key(facts: os.stat_result) -> StatKey:
    """Equal only if the file was not written between two looks.

    The owner of a file can set its mtime, not its ctime.
    """
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_mode)


def git_mode(facts: os.stat_result) -> int:
    """The mode that git would give a file or link."""
    if stat.S_ISLNK(facts.st_mode):
        return SYMLINK
    return EXECUTABLE if facts.st_mode & stat.S_IXUSR else REGULAR


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One walk through the work tree beneath the descriptor `root`, into `listing`."""

    root: int
    tree: Tree
    limits: Limits
    listing: Listing

    def level(self, folders: Iterable[bytes]) -> Level:
        """List these folders, paths beneath the root, and return what is to be decided."""
        level = Level()
        for folder in folders:
            try:
                with beneath.directory(self.root, folder) as descriptor:
                    self._list(descriptor, folder, level)
            except PermissionError:
                self.listing.omissions.add("FILE_UNREADABLE", folder)
                self.listing.unknown.add(folder)
            except OSError:
                # It was a folder when its parent was listed. The next snapshot sees what it is.
                self.listing.unknown.add(folder)
        return level

    def _list(self, descriptor: int, folder: bytes, level: Level) -> None:
        prefix = folder + b"/" if folder else b""
        depth = prefix.count(b"/")
        with os.scandir(descriptor) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                # An embedded repository: its files count, what makes it one does not. As on a
                # file system that ignores case, because somebody may check the result out there.
                if name.lower() == b".git":
                    continue
                self.listing.seen += 1
                if self.listing.seen > self.limits.entries:
                    self.listing.omissions.add("TOO_MANY_ENTRIES", folder)
                    self.listing.unknown.add(folder)
                    return
                path = prefix + name
                try:
                    facts = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # gone since it was listed
                if len(path) > MAX_PATH_BYTES or depth >= MAX_DEPTH:
                    self.listing.omissions.add("PATH_TOO_LONG", path)
                    self.listing.unknown.add(path)
                    continue
                self._sort(descriptor, path, facts, level)

    def _sort(self, descriptor: int, path: bytes, facts: os.stat_result, level: Level) -> None:
        tracked = self.tree.entries.get(path)
        if tracked is not None and tracked.mode == SUBMODULE:
            # git checks one out as an empty folder. What is in it belongs to another repository.
            self.listing.files[path] = Found(SUBMODULE, 0, stat_key(facts))
            if not _is_empty_folder(descriptor, path.rpartition(b"/")[2]):
                self.listing.omissions.add("SUBMODULE", path)
        elif stat.S_ISDIR(facts.st_mode):
            known = path in self.tree.folders
            (level.folders if known else level.new_folders).append(path)
        elif stat.S_ISREG(facts.st_mode) or stat.S_ISLNK(facts.st_mode):
            found = Found(git_mode(facts), facts.st_size, stat_key(facts))
            (level.new_files if tracked is None else self.listing.files)[path] = found
            parent, _, name = path.rpartition(b"/")
            if name == IGNORE_FILE and found.mode != SYMLINK:
                level.ignore_files[parent] = found
        else:
            self.listing.omissions.add("SPECIAL_FILE", path)


def _is_empty_folder(parent: int, name: bytes) -> bool:
    try:
        with beneath.directory(parent, name) as descriptor, os.scandir(descriptor) as entries:
            return next(entries, None) is None
    except OSError:
        return False
