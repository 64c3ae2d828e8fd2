"""Threads that write into a run's folders: who is cancelled meanwhile waits until they have ended.

The folders are removed next. What is written after that would stay, or keep a folder from going.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from pathlib import Path

import pytest

from claude_run.wire import build_run_request
from doubles.git_server import git
from runner import folders, transcripts
from runner.agent import Limits
from runner.broker.grants import Grants
from runner.cancellation import to_the_end
from runner.git import clone
from runner.git.changeset import Omissions
from runner.git.ignore import IgnoreRules
from runner.git.source import CloneSource
from runner.plan import make_plan
from runner.run import Run
from runner.settings import Settings

SOURCE = CloneSource(url="https://github.com/a/b", origin="https://github.com")
SETTINGS = Settings.from_environ({"ANTHROPIC_API_KEY": "sk-the-runners-own"})
SESSION = "5f0c3b5e-7a53-4f0e-9a0a-2f6f8f2f4a11"
# Steps of the event loop in which a task that does not wait is over.
STEPS = 50


class Held:
    """Stands for the work in the thread: it begins, and ends when the test lets it."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, *_: object) -> None:
        """Do nothing, for as long as it takes."""
        self.has_begun.set()
        assert self.may_end.wait(60)


@pytest.fixture
def held() -> Held:
    """Work that is under way until it is let go."""
    return Held()


async def waits(work: Coroutine[object, object, object], held: Held) -> bool:
    """Whether `work`, cancelled twice while its thread is busy, waits for the thread."""
    task = asyncio.ensure_future(work)
    try:
        assert await asyncio.to_thread(held.has_begun.wait, 60)
        for _ in range(2):
            task.cancel()
            for _ in range(STEPS):
                await asyncio.sleep(0)
        waited = not task.done()
    finally:
        held.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    return waited


def test_a_bare_thread_is_not_waited_for(held: Held) -> None:
    """What the tests below would see without `to_the_end`."""
    assert not asyncio.run(waits(asyncio.to_thread(held), held))
    held = Held()
    assert asyncio.run(waits(to_the_end(asyncio.to_thread(held)), held))


def test_a_checkout_is_given_to_its_user_to_the_end(
    tmp_path: Path, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The `chown` of everything that was cloned."""
    git("init", "--quiet", "-b", "main", ".", cwd=tmp_path)
    git("commit", "--quiet", "--allow-empty", "-m", "First", cwd=tmp_path)
    monkeypatch.setattr(clone, "_give_away", held)
    owner = (os.getuid(), os.getgid())
    assert asyncio.run(waits(clone._check_out(SOURCE, tmp_path, owner), held))


def test_a_transcript_is_restored_to_the_end(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the conversation that is resumed."""
    monkeypatch.setattr(transcripts, "restore", held)
    transcript = [{"path": f"{SESSION}.jsonl", "entries": ['{"type":"user"}']}]
    resume = {"sessionId": SESSION, "transcript": transcript}
    plan = make_plan(build_run_request("x", {"resume": resume}), SETTINGS, own_user=False)
    made = folders.create(plan.session_id, None)
    run = Run(
        plan=plan,
        settings=SETTINGS,
        folders=made,
        grants=Grants(),
        broker_url="",
        limits=Limits(),
    )
    try:
        assert asyncio.run(waits(run._prepare(), held))
    finally:
        folders.remove(made)


def test_ignore_rules_are_laid_out_to_the_end(
    tmp_path: Path, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copies that git judges by."""
    monkeypatch.setattr(IgnoreRules, "_lay_out", held)
    rules = IgnoreRules(tmp_path)
    rules.begin()
    rules._rules[b".gitignore"] = b"*.o\n"
    assert asyncio.run(waits(rules.ignored([b"a.o"], [], omissions=Omissions()), held))
