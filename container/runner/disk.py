"""Watches how much disk a run takes: a limit on single files does not bound many of them."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from claude_run.errors import AgentError

LOOK_SECONDS = 1.0
# On Cloud Run the disk is memory; the image's instance has 4 GiB of it unless told otherwise.
MAX_RUN_BYTES = 4 * 1024**3
# Less than this left on the file system ends the run that has grown.
MIN_FREE_BYTES = 256 * 1024**2
# A tree is only measured after the file system itself has filled by a part of the limit.
_SUSPICIOUS = 4


async def watch(folders: Sequence[Path], *, limit: int = MAX_RUN_BYTES) -> None:
    """Return never; raise `AgentError` when the folders hold more than `limit` bytes."""
    free_before = _free(folders[0])
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        free = _free(folders[0])
        if free_before - free < limit // _SUSPICIOUS and free > MIN_FREE_BYTES:
            continue
        used = await asyncio.to_thread(_used, folders)
        if used > limit or (free <= MIN_FREE_BYTES and used > limit // _SUSPICIOUS):
            raise AgentError(
                f"The run used more disk than it may ({limit} bytes).",
                details={"limitBytes": limit},
            )


def _free(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _used(folders: Sequence[Path]) -> int:
    total = 0
    for folder in folders:
        for root, _, names, descriptor in os.fwalk(folder, onerror=None):
            del root
            for name in names:
                try:
                    total += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_blocks * 512
                except OSError:
                    continue
    return total
