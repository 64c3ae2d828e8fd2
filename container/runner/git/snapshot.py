"""What the agent has changed so far, found out without believing the work tree in anything.

The tree is read by us: from descriptor to descriptor, no link followed, blobs hashed here and
compared with the base commit's tree in memory. `git status` or `git add` would obey what the agent
put into the tree, and check a path for links before they open it by its name; between the two, an
agent that swaps a folder for a link to /root gets the runner's files into its pull request.

What counts is what `git status` would show: tracked files always, new ones unless ignored; bytes
as they are on disk. The agent's own commits, index and configuration play no part.
"""

import asyncio
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from claude_run.errors import AgentError
from runner.git import beneath
from runner.git.changeset import (
    ChangedFile,
    ChangeSet,
    Limits,
    fingerprint,
)
from runner.git.clone import Clone
from runner.git.ignore import IgnoreRules
from runner.git.tree import SUBMODULE, SYMLINK, Tree
from runner.git.walk import Found, Listing, StatKey, Walk, git_mode, stat_key

P = ParamSpec("P")
T = TypeVar("T")

_CHUNK = 1 << 20
# A file written twice within one tick of the kernel's clock has one ctime. Nothing so fresh is
# remembered; a tick has 10 ms at most.
_FRESH_NS = 100_000_000


class _Seen(NamedTuple):
    key: StatKey
    object_id: bytes


class _Change(NamedTuple):
    """A path that differs, before its content is read; mode 0 where it is gone."""

    path: bytes
    mode: int
    object_id: bytes


class _StoppedError(Exception):
    """Nobody waits for this snapshot any more."""


class Snapshot:
    """The changes of one run's work tree. One object for the whole run: it remembers hashes."""

    def __init__(
        self, *, workspace: Path, scratch: Path, clone: Clone | None, limits: Limits | None = None
    ) -> None:
        """Create it after clone and reapplied changes, before the agent starts.

        `scratch` is an existing private folder outside of the workspace. Without a repository
        (`clone` None) everything in the workspace is new.
        """
        self._workspace = workspace
        self._base = clone.base if clone else None
        self._tree = clone.tree if clone else Tree()
        self._limits = limits or Limits()
        facts = workspace.lstat()
        self._identity = (facts.st_dev, facts.st_ino)
        self._owner = facts.st_uid
        self._started_ns = time.time_ns()
        self._rules = IgnoreRules(scratch)
        self._hashes: dict[bytes, _Seen] = {}
        self._last: bytes | None = fingerprint((), ())
        self._lock = asyncio.Lock()
        self._stopped = threading.Event()

    async def changes(self, *, final: bool = False) -> ChangeSet | None:
        """The change set, or None if it is the one that was returned last (empty at first).

        `final` believes no hash of a file that was touched since the start: a program may write
        through a memory mapping without a trace in the file's times. `AgentError` if the
        workspace is gone or another one.
        """
        async with self._lock:
            self._stopped.clear()
            root = self._open_workspace()
            try:
                listing = await self._walk(root)
                return await self._in_thread(self._compare, root, listing, final)
            finally:
                os.close(root)

    def forget(self) -> None:
        """The change set returned last reached nobody: the next call returns one whatever it is."""
        self._last = None

    def _open_workspace(self) -> int:
        try:
            root = beneath.open_directory(self._workspace)
        except OSError:
            raise AgentError("The workspace was removed during the run.") from None
        facts = os.fstat(root)
        if (facts.st_dev, facts.st_ino) != self._identity:
            os.close(root)
            raise AgentError("The workspace was replaced during the run.")
        return root

    async def _walk(self, root: int) -> Listing:
        listing = Listing()
        walk = Walk(root=root, tree=self._tree, limits=self._limits, listing=listing)
        await self._in_thread(self._rules.begin)
        folders = [b""]
        while folders:
            level = await self._in_thread(walk.level, folders)
            await self._in_thread(
                self._rules.read,
                root,
                level.ignore_files,
                owner=self._owner,
                omissions=listing.omissions,
            )
            ignored = await self._rules.ignored(
                list(level.new_files), level.new_folders, omissions=listing.omissions
            )
            listing.files |= {
                path: found for path, found in level.new_files.items() if path not in ignored
            }
            folders = level.folders + [path for path in level.new_folders if path not in ignored]
        return listing

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a thread, and on cancellation wait for it: nothing reads on afterwards."""
        task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._stopped.set()
            # However often we are cancelled: the thread uses a descriptor that is closed next.
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
            task.exception()  # it was stopped, as it should be
            raise

    def _compare(self, root: int, listing: Listing, final: bool) -> ChangeSet | None:
        with _Reader(root, owner=self._owner, stopped=self._stopped) as reader:
            selected = self._select(listing, reader, final)
            self._hashes = {
                path: seen for path, seen in self._hashes.items() if path in listing.files
            }
            if fingerprint(selected, listing.omissions.warnings()) == self._last:
                return None
            files, read = self._read(selected, listing, reader)
        warnings = listing.omissions.warnings()
        self._last = fingerprint(read, warnings)
        return ChangeSet(base=self._base, files=files, warnings=warnings)

    def _select(self, listing: Listing, reader: "_Reader", final: bool) -> list[_Change]:
        """What differs and fits within the limits, sorted; the rest becomes omissions."""
        limits, omissions = self._limits, listing.omissions
        selected: list[_Change] = []
        for path in self._tree.entries:
            if path in listing.files or listing.is_unknown(path):
                continue
            if len(selected) < limits.files:
                selected.append(_Change(path, 0, b""))
            else:
                omissions.add("TOO_MANY_FILES", path)
        total = 0
        for path in sorted(listing.files):
            found = listing.files[path]
            if found.mode == SUBMODULE:
                continue
            object_id = self._identify(path, found, limits.change_bytes - total, reader, final)
            if isinstance(object_id, str):
                omissions.add(object_id, path)
            elif object_id is not None and len(selected) >= limits.files:
                omissions.add("TOO_MANY_FILES", path)
            elif object_id is not None:
                selected.append(_Change(path, found.mode, object_id))
                total += found.size
        return sorted(selected)

    def _identify(
        self, path: bytes, found: Found, room: int, reader: "_Reader", final: bool
    ) -> bytes | str | None:
        """The id of a changed file's content, or why it must be left out; None if unchanged.

        Only what may be the base's content, or fits, is read at all: a sparse file of a terabyte
        costs nothing.
        """
        tracked = self._tree.entries.get(path)
        excess = None
        if found.size > self._limits.file_bytes:
            excess = "FILE_TOO_LARGE"
        elif found.size > room:
            excess = "CHANGES_TOO_LARGE"
        if excess and (tracked is None or tracked.size != found.size):
            return excess
        try:
            object_id = self._hash(path, found, reader, final)
        except PermissionError:
            return "FILE_UNREADABLE"
        except OSError:
            # Gone since it was listed. What it was, and what it is, the next snapshot tells.
            return None
        if tracked is not None and (tracked.mode, tracked.object_id) == (found.mode, object_id):
            return None
        return excess or object_id

    def _hash(self, path: bytes, found: Found, reader: "_Reader", final: bool) -> bytes:
        seen = self._hashes.get(path)
        changed_ns = found.key[3]
        believed = not final or changed_ns < self._started_ns
        if seen is not None and seen.key == found.key and believed:
            return seen.object_id
        now = time.time_ns()
        content = reader.hash(path, found, self._tree.algorithm)
        if changed_ns < now - _FRESH_NS:
            self._hashes[path] = _Seen(found.key, content)
        return content

    def _read(
        self, selected: list[_Change], listing: Listing, reader: "_Reader"
    ) -> tuple[tuple[ChangedFile, ...], list[_Change]]:
        """The contents, and what they really are: a file may have changed since it was hashed."""
        files: list[ChangedFile] = []
        read: list[_Change] = []
        for change in selected:
            if change.mode == 0:
                files.append(ChangedFile(path=change.path))
                read.append(change)
                continue
            try:
                content = reader.content(change.path, listing.files[change.path])
            except OSError:
                continue
            new = change.path not in self._tree.entries
            files.append(ChangedFile(path=change.path, mode=change.mode, content=content, new=new))
            digest = _blob_digest(self._tree.algorithm, len(content))
            digest.update(content)
            read.append(_Change(change.path, change.mode, digest.digest()))
        return tuple(files), read


class _Reader:
    """Reads files in the order of their paths, keeping the folder of the last one open."""

    def __init__(self, root: int, *, owner: int, stopped: threading.Event) -> None:
        self._root = root
        self._owner = owner
        self._stopped = stopped
        self._folder: bytes | None = None
        self._descriptor = -1

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._folder is not None:
            os.close(self._descriptor)
            self._folder = None

    def _enter(self, folder: bytes) -> int:
        if self._stopped.is_set():
            raise _StoppedError
        if folder != self._folder:
            self._leave()
            with beneath.directory(self._root, folder) as descriptor:
                self._descriptor = os.dup(descriptor)
            self._folder = folder
        return self._descriptor

    def hash(self, path: bytes, found: Found, algorithm: str) -> bytes:
        """The id that git gives this content; `OSError` if it is not what was listed."""
        folder, _, name = path.rpartition(b"/")
        parent = self._enter(folder)
        digest = _blob_digest(algorithm, found.size)
        if found.mode == SYMLINK:
            digest.update(self._target(parent, name, found))
            return digest.digest()
        with beneath.regular_file(parent, name, owner=self._owner) as (descriptor, facts):
            if stat_key(facts) != found.key:
                raise FileNotFoundError("it changed since it was listed")
            left = found.size
            while left and (chunk := os.read(descriptor, min(left, _CHUNK))):
                if self._stopped.is_set():
                    raise _StoppedError
                digest.update(chunk)
                left -= len(chunk)
            if left:
                raise FileNotFoundError("it became shorter")
        return digest.digest()

    def content(self, path: bytes, found: Found) -> bytes:
        """The content, at most as long as it was when it was listed."""
        folder, _, name = path.rpartition(b"/")
        parent = self._enter(folder)
        if found.mode == SYMLINK:
            return self._target(parent, name, found)
        with beneath.regular_file(parent, name, owner=self._owner) as (descriptor, facts):
            if git_mode(facts) != found.mode:
                raise FileNotFoundError("it changed since it was listed")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(found.size)

    def _target(self, parent: int, name: bytes, found: Found) -> bytes:
        facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(facts.st_mode) or facts.st_uid != self._owner:
            raise FileNotFoundError("what was a link is none any more")
        target = os.readlink(name, dir_fd=parent)
        if len(target) != found.size:
            raise FileNotFoundError("it changed since it was listed")
        return target


def _blob_digest(algorithm: str, size: int) -> "hashlib._Hash":
    digest = hashlib.new(algorithm, usedforsecurity=False)
    digest.update(b"blob %d\0" % size)
    return digest
