"""Reapplying changes, and being stopped meanwhile."""

import asyncio
from pathlib import Path

import pytest

from claude_run.wire import Changes, FileChange
from runner.git.apply import apply_changes

FILES = 2_000


def written(workspace: Path) -> int:
    return len(list(workspace.iterdir()))


def test_who_is_cancelled_writes_nothing_more(tmp_path: Path) -> None:
    """The workspace is removed next; a file that came then would keep it alive."""
    changes = Changes(
        base=None,
        files=[
            FileChange(path=f"{number}/file", mode="100644", content="") for number in range(FILES)
        ],
    )

    async def story() -> int:
        applying = asyncio.create_task(apply_changes(changes, workspace=tmp_path, base=None))
        while not written(tmp_path):  # noqa: ASYNC110 - a thread makes it, without a word
            await asyncio.sleep(0)
        applying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await applying
        return written(tmp_path)

    found = asyncio.run(story())
    # asyncio.run has waited for every thread.
    assert written(tmp_path) == found
