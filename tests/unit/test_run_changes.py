"""What a checkpoint has found is told, also where the agent ends in the middle of it."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from claude_run.errors import StoppedError
from doubles.work_tree import check_out
from runner import run as run_module
from runner.git.changeset import ChangeSet
from runner.git.snapshot import Snapshot
from runner.run import Run
from runner.sinks import Frame

NOTHING = cast(Any, None)
WAIT_SECONDS = 10.0


class Events:
    """A sink that first takes `stalls` writes for ever: their writers are cancelled."""

    def __init__(self, stalls: int) -> None:
        self.stalls = stalls
        self.reached = asyncio.Event()
        self.told: list[list[str]] = []

    async def write(self, frames: Sequence[Frame]) -> None:
        if self.stalls:
            self.stalls -= 1
            self.reached.set()
            await asyncio.Event().wait()
        for frame in frames:
            if frame.event == "changes":
                self.told.append([file["path"] for file in json.loads(frame.data)["files"]])

    def finish(self) -> None: ...


def prepared(root: Path) -> tuple[Run, Snapshot, Path]:
    """A run at the moment when its agent works: what the snapshot needs, and no more."""
    tree = check_out(root, {})
    run = Run(
        plan=NOTHING,
        settings=NOTHING,
        folders=NOTHING,
        grants=NOTHING,
        broker_url="",
        limits=NOTHING,
    )
    return run, tree.snapshot(), tree.workspace


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "CHECKPOINT_SECONDS", 0.0)


def test_cancelled_while_it_is_written(tmp_path: Path) -> None:
    """The client is slow, the agent ends: the last look tells the file."""
    run, snapshot, workspace = prepared(tmp_path)

    async def story() -> list[list[str]]:
        events = Events(stalls=1)
        run._snapshot = snapshot
        checkpoints = asyncio.create_task(run._checkpoints(events))
        (workspace / "mine.txt").write_text("mine")
        await asyncio.wait_for(events.reached.wait(), WAIT_SECONDS)
        await run_module._end(checkpoints)
        await run._last_look(events, snapshot)
        return events.told

    run._stop_error = StoppedError("over")
    assert asyncio.run(story()) == [["mine.txt"]]


def test_cancelled_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread has found the file by the time that nobody waits for it any more."""
    run, snapshot, workspace = prepared(tmp_path)
    (workspace / "mine.txt").write_text("mine")
    found = asyncio.Event()
    original = Snapshot._compare

    async def story() -> list[list[str]]:
        loop = asyncio.get_running_loop()

        def slow(self: Snapshot, *args: object) -> ChangeSet | None:
            result = original(self, *args)  # type: ignore[arg-type]
            if not found.is_set():
                loop.call_soon_threadsafe(found.set)
                time.sleep(0.2)
            return result

        monkeypatch.setattr(Snapshot, "_compare", slow)
        events = Events(stalls=0)
        run._snapshot = snapshot
        checkpoints = asyncio.create_task(run._checkpoints(events))
        await asyncio.wait_for(found.wait(), WAIT_SECONDS)
        await run_module._end(checkpoints)
        assert events.told == []
        await run._last_look(events, snapshot)
        return events.told

    assert asyncio.run(story()) == [["mine.txt"]]


def test_what_was_told_is_not_told_again(tmp_path: Path) -> None:
    """A checkpoint that reached the client is the change set, where nothing came after it."""
    run, snapshot, workspace = prepared(tmp_path)
    (workspace / "mine.txt").write_text("mine")

    async def story() -> list[list[str]]:
        events = Events(stalls=0)
        await run._write_changes(events, snapshot, final=False)
        await run._last_look(events, snapshot)
        return events.told

    assert asyncio.run(story()) == [["mine.txt"]]
