"""A worker that is killed between any two writes: nothing is lost, nothing is done twice."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from doubles.light_desk import LightGitHub
from doubles.light_runner import light_run
from doubles.recording_server import RecordingServer, recording_server
from gateway.ledger import Ledger
from gateway.limit_settings import LimitSettings
from gateway.opening import COLLECTIONS
from gateway.quota import Quota
from gateway.sessions.record import ISSUES, Session, key_of
from gateway.store import Store, open_store
from gateway.work.queue import Queue
from gateway.work.record import FINAL, State
from work_items import ASKED, COMMENT, conversation, items

TESTS = Path(__file__).parents[1]
CHANGES = {
    "base": "b" * 40,
    "files": [{"path": "a.txt", "mode": "100644", "content": "aGk=", "new": True}],
}


@dataclass(slots=True)
class Workers:
    """Processes of `worker_child`, one after the other."""

    folder: Path
    runner: RecordingServer
    process: "subprocess.Popen[str]"

    def run(self, case: str, *, last: int = 0, minutes: int = 0) -> tuple[int, int]:
        """A worker until it is done or killed: exit status, and how often it wrote."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{last} {minutes} {case}\n")
        self.process.stdin.flush()
        status, written = self.process.stdout.readline().split()
        return int(status), int(written)


@dataclass(slots=True)
class Case:
    """One story: a folder of its own."""

    folder: Path
    store: Store
    runner: RecordingServer

    @property
    def runs(self) -> int:
        """How often the agent was started for it."""
        found = [one for one in self.runner.asked if self.folder.name.encode() in one.body]
        return len([one for one in found if one.line.startswith("POST /run")])

    @property
    def done(self) -> list[str]:
        """What was done on GitHub."""
        return LightGitHub(path=self.folder / "github").lines

    def ledger(self) -> Ledger:
        """The quota as it is."""
        return Quota(LimitSettings()).read(self.store, datetime.now(UTC) + timedelta(minutes=30))


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    """A process that forks them, and a runner for all."""
    script = light_run(lambda _prompt: ["Done"], changes=CHANGES)
    with recording_server(script) as runner:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker_child", str(tmp_path), runner.url],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            yield Workers(folder=tmp_path, runner=runner, process=process)
            assert process.stdin is not None
            process.stdin.close()


@contextmanager
def case(workers: Workers, name: str) -> Iterator[Case]:
    """An issue and a comment on it that were accepted; the case's name is among what is asked."""
    folder = workers.folder / name
    folder.mkdir()
    store = open_store(f"sqlite://{folder}/g.db", collections=COLLECTIONS)
    queue = Queue(store=store, clock=lambda: datetime.now(UTC))
    queue.accept(replace(ASKED, text=f"Please, {name}"), delivery="d-1")
    queue.accept(COMMENT, delivery="d-2")
    try:
        yield Case(folder=folder, store=store, runner=workers.runner)
    finally:
        store.close()


def check_over(story: Case) -> None:
    """All of it is over, in every place where something is kept."""
    found = items(story.store)
    assert found["issue"].state in FINAL
    assert found["comment:1"].state is State.JOINED
    talk = conversation(story.store)
    assert (talk.current, talk.waiting) == (None, ())
    stored = story.store.get(f"sessions/{key_of(ISSUES, 'issue-7-5')}")
    assert stored is not None
    assert Session.from_data(stored.id, stored.data).over
    assert story.ledger().running == 0
    for line in ("pull ", "branch ", "comment ", "report "):
        assert len([one for one in story.done if one.startswith(line)]) <= 1, story.done


def test_a_crash_before_any_write_is_followed_by_one_end(workers: Workers) -> None:
    """For each write there is: killed before it, then another worker. At most one run of the
    agent, at most one pull request, and always an end that was told.
    """
    with case(workers, "whole") as story:
        status, total = workers.run("whole")
        assert status == 0
        assert items(story.store)["issue"].state is State.DONE
        assert story.runs == 1
        check_over(story)
    assert total > 10
    ends = set()
    for last in range(1, total + 1):
        name = f"before-{last:03d}"
        with case(workers, name) as story:
            killed, _ = workers.run(name, last=last)
            runs = story.runs
            assert workers.run(name, minutes=2)[0] == 0
            check_over(story)
            assert story.runs == max(runs, 1), "the agent was run again, or never"
            state = items(story.store)["issue"].state
            assert state in (State.DONE, State.INTERRUPTED)
            # Whatever the agent had changed by then is published.
            published = any(line.startswith("pull ") for line in story.done)
            assert published or state is State.INTERRUPTED
            assert any(line.startswith("report ") for line in story.done)
            ends.add((killed, state))
    assert {(-9, State.DONE), (-9, State.INTERRUPTED)} <= ends
