"""The folders of a run: all of them, or none."""

import os
from pathlib import Path
from uuid import uuid4

import pytest

from claude_run.errors import CallerError, Code
from claude_run.wire import TranscriptPart
from runner import folders, transcripts
from runner.agent import User

ME = User(uid=os.getuid(), gid=os.getgid())


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the folders are made instead of /tmp."""
    monkeypatch.setattr(folders, "ROOT", tmp_path)
    return tmp_path


def test_a_session_under_way_keeps_its_workspace(root: Path) -> None:
    """The second one is refused, and leaves nothing of its own."""
    session = str(uuid4())
    under_way = root / f"ws-{session}"
    under_way.mkdir()
    with pytest.raises(CallerError) as caught:
        folders.create(session, None)
    assert caught.value.code is Code.CONFLICT
    assert list(root.iterdir()) == [under_way]


def test_what_fails_half_way_is_undone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the session would count as under way for ever."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "chown", full)
    with pytest.raises(OSError, match="No space left"):
        folders.create(str(uuid4()), ME)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    "paths",
    [("a.jsonl", "a.jsonl/b.jsonl"), ("a.jsonl/b.jsonl", "a.jsonl"), (f"{'a' * 300}.json",)],
)
def test_transcripts_that_cannot_be_files_are_refused(root: Path, paths: tuple[str, ...]) -> None:
    """By the name of the field: it is the caller's mistake, not the runner's."""
    made = folders.create(str(uuid4()), None)
    parts = [TranscriptPart(path=path, entries=["{}"]) for path in paths]
    with pytest.raises(CallerError) as caught:
        transcripts.restore(parts, made.places, None)
    assert caught.value.details["field"] == "resume.transcript"
    assert root in made.places.workspace.parents
