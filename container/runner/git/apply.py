"""Bringing an earlier turn's changes back into a work tree, exactly, and nowhere else.

The agent does not run yet, but both the tree and the change set may be hostile: a commit with a
link `a -> /etc` and a change to `a/passwd` would make us, perhaps root, write outside.
"""

import asyncio
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from claude_run.errors import CallerError
from claude_run.wire import Changes, FileChange
from runner.cancellation import to_the_end
from runner.git import beneath

# A file or a link where a folder must be, a folder with something in it where a file must be, a
# name or target that the file system cannot have.
_UNFIT = frozenset(
    {
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ENOTEMPTY,
        errno.EEXIST,
        errno.ENOENT,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.EILSEQ,
    }
)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


async def apply_changes(
    changes: Changes, *, workspace: Path, base: str | None, owner: tuple[int, int] | None = None
) -> None:
    """Apply `changes` to a fresh checkout of `base`; what is written belongs to `owner`.

    Raises `CallerError` where the change set was made against another commit or does not fit
    the tree. Half of it may be applied then: the workspace is to be thrown away.
    """
    if changes.base != base:
        raise _refusal("changes.base", "it is not the commit that is checked out")
    # To the end: who is cancelled removes the workspace next, and nothing may write there then.
    await to_the_end(asyncio.to_thread(_apply, changes, workspace, owner))


def _refusal(field: str, rule: str) -> CallerError:
    return CallerError(f"{field}: {rule}", details={"field": field, "rule": rule})


def _apply(changes: Changes, workspace: Path, owner: tuple[int, int] | None) -> None:
    root = beneath.open_directory(workspace)
    try:
        # First what goes, so that a file can take a folder's place and a folder a file's.
        for number, change in _numbered(changes, deleted=True):
            with _refused(number):
                _delete(root, change.raw_path)
        for number, change in _numbered(changes, deleted=False):
            with _refused(number):
                _write(root, change, owner)
    finally:
        os.close(root)


def _numbered(changes: Changes, *, deleted: bool) -> Iterator[tuple[int, FileChange]]:
    for number, change in enumerate(changes.files):
        if bool(change.deleted) == deleted:
            yield number, change


@contextmanager
def _refused(number: int) -> Iterator[None]:
    """Turn what the tree does not allow into the caller's error; a full disk stays ours."""
    try:
        yield
    except OSError as error:
        if error.errno not in _UNFIT:
            raise
        rule = "it does not fit what is checked out"
        raise _refusal(f"changes.files.{number}", rule) from None
    except ValueError:
        # A link's target with a NUL in it.
        raise _refusal(f"changes.files.{number}.content", "it is no link's target") from None


def _delete(root: int, path: bytes) -> None:
    """Remove a file, a link or an empty folder (a submodule's), and folders left empty."""
    folder, _, name = path.rpartition(b"/")
    with suppress(FileNotFoundError), beneath.directory(root, folder) as parent:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.rmdir(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
    while folder:
        folder, _, name = folder.rpartition(b"/")
        try:
            with beneath.directory(root, folder) as parent:
                os.rmdir(name, dir_fd=parent)
        except OSError:
            return  # not empty, or gone before


def _write(root: int, change: FileChange, owner: tuple[int, int] | None) -> None:
    folder, _, name = change.raw_path.rpartition(b"/")
    _make_folders(root, folder, owner)
    with beneath.directory(root, folder) as parent:
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                os.rmdir(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)
        if change.mode == "120000":
            os.symlink(change.raw_content, name, dir_fd=parent)
            if owner is not None:
                os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
            return
        descriptor = os.open(name, _CREATE, 0o600, dir_fd=parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(change.raw_content)
            os.fchmod(descriptor, 0o755 if change.mode == "100755" else 0o644)
            if owner is not None:
                os.fchown(descriptor, *owner)


def _make_folders(root: int, folder: bytes, owner: tuple[int, int] | None) -> None:
    made = b""
    for name in folder.split(b"/") if folder else ():
        with beneath.directory(root, made) as parent, suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=parent)
            if owner is not None:
                os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
        made = made + b"/" + name if made else name
