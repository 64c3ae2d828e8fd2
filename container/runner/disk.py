"""Watches how much disk a run takes: a limit on single files does not bound many of them."""

import asyncio
import os
import signal
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from claude_run.errors import AgentError
from runner.agent import User
from runner.folders import SHARED, owned_by

LOOK_SECONDS = 1.0
# Looking takes part of the machine that the run could use: at most this part of the time.
LOOK_SHARE = 5
MEASURE_SECONDS = 60.0
# On Cloud Run the disk is memory; the image's instance has 4 GiB of it unless told otherwise.
MAX_RUN_BYTES = 4 * 1024**3
# An empty file takes some memory too.
MAX_RUN_FILES = 1_000_000
# With less than this left on a file system, a run that has grown is ended though it may be another
# program that filled it.
MIN_FREE_BYTES = 256 * 1024**2
# A run is measured at once when a file system has filled by this part of the limit…
SUSPICIOUS_PART = 4
# …and now and then in any case: what it takes, another program may give back at the same time.
REGULAR_SECONDS = 8.0
REGULAR_SHARE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What is taken, or free, or allowed."""

    size: int
    files: int

    def __sub__(self, other: "Taken") -> "Taken":
        return Taken(size=self.size - other.size, files=self.files - other.files)

    def reaches(self, limit: "Taken", *, part: int = 1) -> bool:
        """Whether either figure is at that part of the limit."""
        return self.size >= limit.size // part or self.files >= limit.files // part


async def watch(
    folders: Sequence[Path],
    *,
    user: User | None,
    size: int = MAX_RUN_BYTES,
    files: int = MAX_RUN_FILES,
) -> None:
    """Return never; raise `AgentError` when a run holds more than `size` bytes or `files`.

    Counted is what lies in `folders` and, where the run has a user of its own, what this user has
    in the folders that all users share, and files that are deleted and still open.
    """
    limit = Taken(size=size, files=files)
    places = [folders[0], *(SHARED if user is not None else ())]
    before = {place: _free(place) for place in places}
    now = asyncio.get_running_loop().time
    pause, due = LOOK_SECONDS, now() + REGULAR_SECONDS
    while True:
        await asyncio.sleep(pause)
        grown = [(before[place] - (free := _free(place)), free) for place in places]
        is_suspicious = any(
            by.reaches(limit, part=SUSPICIOUS_PART) or free.size < MIN_FREE_BYTES
            for by, free in grown
        )
        if not is_suspicious and now() < due:
            continue
        begin = now()
        taken = await _taken(folders, user)
        took = now() - begin
        pause = max(LOOK_SECONDS, LOOK_SHARE * took)
        due = now() + max(REGULAR_SECONDS, REGULAR_SHARE * took)
        full = any(
            free.size < MIN_FREE_BYTES and by.size >= size // SUSPICIOUS_PART for by, free in grown
        )
        if full or taken.reaches(limit):
            raise AgentError(
                f"The run used more disk than it may ({size} bytes, {files} files).",
                details={"limitBytes": size, "limitFiles": files},
            )


def _free(place: Path) -> Taken:
    with suppress(OSError):  # not every machine has every shared folder
        status = os.statvfs(place)
        return Taken(size=status.f_bavail * status.f_frsize, files=status.f_ffree)
    return Taken(size=MIN_FREE_BYTES, files=0)


async def _taken(folders: Sequence[Path], user: User | None) -> Taken:
    paths = [*folders, *(owned_by(user.uid) if user is not None else ())]
    kibibytes, files = await asyncio.gather(_du(paths, "-k"), _du(paths, "--inodes"))
    deleted = await asyncio.to_thread(_deleted_but_open, user) if user is not None else 0
    return Taken(size=kibibytes * 1024 + deleted, files=files)


async def _du(paths: Sequence[Path], unit: str) -> int:
    """The sum over `paths`, by du(1): an agent can nest deeper than a path may be long.

    What du cannot read, or not in time, counts as nothing: the file systems are watched too.
    """
    process = await asyncio.create_subprocess_exec(
        "du", "-scx", unit, "--files0-from=-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
    )  # fmt: skip
    try:
        names = b"\0".join(os.fsencode(path) for path in paths)
        async with asyncio.timeout(MEASURE_SECONDS):
            printed, _ = await process.communicate(names)
    except TimeoutError:
        return 0
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            await process.wait()
    total = printed.splitlines()[-1:]
    return int(total[0].split()[0]) if total else 0


def _deleted_but_open(user: User) -> int:
    """The bytes of files that have no name any more and that a process of `user` holds open."""
    found: dict[tuple[int, int], int] = {}
    for facts in _open_files(user):
        if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 0:
            found[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return sum(found.values())


def _open_files(user: User) -> Iterator[os.stat_result]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid != user.uid:
                continue
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    yield descriptor.stat()
