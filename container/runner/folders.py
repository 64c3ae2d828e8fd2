"""The folders of one run: made with their modes and owner, and gone before its stream ends."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from claude_run.errors import CallerError, Code
from runner.agent import User
from runner.options import Places

log = structlog.get_logger()

# Named in the API reference; a resumed conversation finds its old absolute paths here.
ROOT = Path("/tmp")  # noqa: S108 - created exclusively, 0700
REMOVE_SECONDS = 60.0
# Where any user may write, so where a run's user may have left something.
SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """`private` is ours alone, but for the folders in it that `places` names."""

    private: Path
    scratch: Path
    fifo: Path
    places: Places
    user: User | None


def create(session_id: str, user: User | None) -> Folders:
    """Make them, or raise `CallerError` CONFLICT while the session has a run on this instance."""
    # By the runner and the session, so that what a killed runner left tells whose it was.
    private = _make(ROOT / f"claude-run-{os.getpid()}-{session_id}", session_id)
    with ExitStack() as undo:
        undo.callback(remove_tree, private)
        workspace = _make(ROOT / f"ws-{session_id}", session_id)
        undo.callback(remove_tree, workspace)
        places = Places(
            workspace=workspace,
            home=private / "home",
            temporary=private / "tmp",
            config=private / "home" / ".claude",
            mcp_config=private / "mcp.json",
            settings=private / "settings.json",
        )
        scratch = private / "scratch"
        for folder in (places.home, places.temporary, places.config, scratch):
            folder.mkdir(mode=0o700)
        if user is not None:
            private.chmod(0o711)  # to be passed through, not to be listed
            for folder in (workspace, places.home, places.temporary, places.config):
                os.chown(folder, user.uid, user.gid)
        undo.pop_all()
    return Folders(
        private=private, scratch=scratch, fifo=private / "prompt", places=places, user=user
    )


def _make(folder: Path, session_id: str) -> Path:
    """A new folder that only we can look into."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise CallerError(
            "This session has a run under way on this instance.",
            code=Code.CONFLICT,
            details={"field": "resume.sessionId", "sessionId": session_id},
        ) from None
    return folder


def write_private(path: Path, data: bytes, user: User | None) -> None:
    """Write a new file that only the run's user can read; it is never open to anybody else."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if user is not None:
            os.fchown(file.fileno(), user.uid, user.gid)
        file.write(data)


def write_readable(path: Path, data: bytes, user: User | None) -> None:
    """Write a new file of ours that the run's user can read and not change."""
    write_private(path, data, None)
    if user is not None:
        os.chown(path, -1, user.gid)
        path.chmod(0o640)


def remove(folders: Folders) -> None:
    """Remove all of it, whatever modes the agent left. Call it when no process is left."""
    for folder in (folders.places.workspace, folders.private):
        remove_tree(folder)
    if folders.user is not None:
        for path in owned_by(folders.user.uid):
            remove_tree(path)


def owned_by(uid: int) -> Iterator[Path]:
    """What a user has left at the top of the shared folders, deeper ones inside it."""
    for shared in SHARED:
        with suppress(OSError):
            for entry in os.scandir(shared):
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_uid == uid:
                        yield Path(entry.path)


def remove_tree(root: Path) -> None:
    """Remove a folder of any depth; one that stays is logged.

    By `rm`, since `shutil.rmtree` recurses and an agent can nest deeper than Python's stack.
    """
    _run("rm", "-rf", "--", str(root))
    if os.path.lexists(root):
        # Without root's rights a folder that has lost its own r, w or x keeps what is in it.
        _run("chmod", "-R", "u+rwX", "--", str(root))
        _run("rm", "-rf", "--", str(root))
    if os.path.lexists(root):
        log.error("a folder could not be removed", folder=str(root))


def _run(*command: str) -> None:
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command,
            # Not ours, which holds the key.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=REMOVE_SECONDS,
            check=False,
        )
