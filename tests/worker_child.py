"""Workers that are killed before their n-th write: `python -m worker_child FOLDER RUNNER`.

Each line of the input is `n minutes kind`: a worker, forked from here so that nothing has to be
imported again, whose clock is so many minutes ahead, works until it is killed (n) or done (0).
Each line of the output is its exit status and how often it wrote.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from claude_run import logs
from claude_run.client import Client
from doubles.light_desk import LightGitHub
from gateway.github.opening import GitHubApp
from gateway.github.policy import Policy
from gateway.github.settings import GitHubSettings
from gateway.limit_settings import LimitSettings
from gateway.metrics import Metrics
from gateway.opening import COLLECTIONS
from gateway.pull_requests import PullRequests
from gateway.quota import Quota
from gateway.sessions.registry import Registry
from gateway.store import Document, Query, Store, Transaction, open_store
from gateway.store.writes import Write
from gateway.vault import open_vault
from gateway.work.claims import Claims
from gateway.work.detached import DetachedSteps
from gateway.work.issue import IssueSteps
from gateway.work.loop import Steps, Worker
from gateway.work.record import Kind
from gateway.work.turns import Turns

T = TypeVar("T")


class Mortal:
    """Counts writes, and ends the process before the one that is its last."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.written = 0

    def write(self) -> None:
        """Is about to happen."""
        self.written += 1
        if self.written == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalStore:
    """A store whose every commit may be the last thing that its process was about to do."""

    def __init__(self, store: Store, mortal: Mortal) -> None:
        self._store = store
        self._mortal = mortal

    def get(self, path: str, *, seconds: float = 5.0) -> Document | None:
        """As the store."""
        return self._store.get(path, seconds=seconds)

    def query(self, query: Query) -> list[Document]:
        """As the store."""
        return self._store.query(query)

    def write(self, writes: Iterable[Write]) -> None:
        """As the store, if it comes to that."""
        self._mortal.write()
        self._store.write(writes)

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """As the store, if it comes to that."""

        def counted(tx: Transaction) -> T:
            result = work(tx)
            if tx.writes:
                self._mortal.write()
            return result

        return self._store.transact(counted)

    def close(self) -> None:
        """As the store."""
        self._store.close()


def worker(
    folder: Path,
    runner: str,
    *,
    mortal: Mortal,
    ahead: timedelta,
    **github: Any,  # noqa: ANN401
) -> Worker:
    """A worker on a folder's store, with light doubles for all that is outside."""

    def clock() -> datetime:
        return datetime.now(UTC) + ahead

    opened = open_store(f"sqlite://{folder}/g.db", collections=COLLECTIONS, clock=clock)
    store = MortalStore(opened, mortal)
    claims = Claims(store=store, clock=clock)
    light = LightGitHub(path=folder / "github", writing=mortal.write, **github)
    turns = Turns(
        registry=Registry(store=store, quota=Quota(LimitSettings()), clock=clock),
        store=store,
        vault=open_vault(f"file://{folder}/vault"),
        client=Client(runner),
        # Counters are no state: whatever of them is lost in a crash does not matter.
        metrics=Metrics(opened, routes=()),
        clock=clock,
    )
    issues = IssueSteps(
        store=store,
        claims=claims,
        turns=turns,
        desk=light,
        tokens=light,
        pulls=light,
        publisher=light,
        server_url="http://127.0.0.1:1",
    )
    own = GitHubApp(GitHubSettings(), store, turns.vault, clock)
    pull_requests = PullRequests(github=own, server_url="http://127.0.0.1:1", policy=Policy())
    steps: dict[Kind, Steps] = {
        Kind.ISSUE: issues,
        Kind.SESSION: DetachedSteps(store=store, turns=turns, pull_requests=pull_requests),
    }
    return Worker(claims=claims, steps=steps, clock=clock)


def main() -> None:
    """Work."""
    folder, runner = Path(sys.argv[1]), sys.argv[2]
    logs.configure()
    for line in sys.stdin:
        last, minutes, name = line.split()
        # How often it wrote, a killed one cannot say itself.
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            mortal = Mortal(int(last))
            ahead = timedelta(minutes=int(minutes))
            worker(folder / name, runner, mortal=mortal, ahead=ahead).run()
            os.write(writing, str(mortal.written).encode())
            os._exit(0)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        written = os.read(reading, 20).decode() or last
        os.close(reading)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)} {written}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
