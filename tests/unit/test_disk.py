"""How much disk a run takes is found out, whatever else happens on the file system."""

import asyncio
from pathlib import Path

import pytest

from claude_run.errors import AgentError
from runner import disk
from runner.disk import Taken

LIMIT = 1 << 20


def watched(folder: Path, *, seconds: float) -> None:
    """Watch a run in `folder` for so long."""

    async def watch() -> None:
        async with asyncio.timeout(seconds):
            await disk.watch([folder], user=None, size=LIMIT)

    asyncio.run(watch())


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(disk, "REGULAR_SECONDS", 0.1)


def test_what_a_run_takes_while_others_give_back_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system is no fuller than before, and the run ends all the same."""
    monkeypatch.setattr(disk, "_free", lambda _place: Taken(size=1 << 40, files=1 << 20))
    (tmp_path / "large").write_bytes(bytes(2 * LIMIT))
    with pytest.raises(AgentError, match="more disk than it may"):
        watched(tmp_path, seconds=30)


def test_a_run_within_its_limit_goes_on(tmp_path: Path) -> None:
    """However often it is measured."""
    (tmp_path / "small").write_bytes(bytes(LIMIT // 2))
    with pytest.raises(TimeoutError):
        watched(tmp_path, seconds=1)


def test_a_run_is_measured_when_the_file_system_fills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, long before it would be in any case."""
    monkeypatch.setattr(disk, "REGULAR_SECONDS", 600.0)
    free = iter(range(1 << 40, 0, -LIMIT))
    monkeypatch.setattr(disk, "_free", lambda _place: Taken(size=next(free), files=1 << 20))
    (tmp_path / "large").write_bytes(bytes(2 * LIMIT))
    with pytest.raises(AgentError, match="more disk than it may"):
        watched(tmp_path, seconds=30)
