"""The whole of claude-run before a GitHub: gateway, runner, workers, as processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import servers
from doubles.github import GitHub, Repository
from gateway.opening import COLLECTIONS
from gateway.sessions.record import ISSUES, Session, key_of
from gateway.store import Put, Store, open_store
from gateway.work.record import FINAL, State, WorkItem
from gateway_app import NO_JOB
from work_items import all_items

SECONDS = 90.0


def until(holds: Callable[[], bool], what: Callable[[], str], *, pause: float = 0.05) -> None:
    """Wait for a condition; else `what` is said."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(pause)


def asking(text: str, *turns: dict[str, Any]) -> str:
    """A text whose readers see what the scripted model will do."""
    scenario = json.dumps({"turns": list(turns)}).replace("</", "<\\/")
    return f"{text}\n\n```\n<scenario>{scenario}</scenario>\n```\n"


def writing(path: str, content: str, said: str = "I have written it.") -> list[dict[str, Any]]:
    """The agent writes a file, and says so."""
    written = servers.use("Write", file_path=f"{{{{cwd}}}}/{path}", content=content)
    return [written, servers.say(said)]


@dataclass(slots=True)
class Service:
    """Where all of it is."""

    folder: Path
    github: GitHub
    runner: servers.Server
    gateway: servers.Server | None = None
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def store(self) -> Store:
        """What it has stored."""
        return open_store(f"sqlite://{self.folder}/gateway.db", collections=COLLECTIONS)

    def environ(self) -> dict[str, str]:
        """What a worker of its own is started with."""
        kept = {name: os.environ[name] for name in servers.KEPT if name in os.environ}
        return kept | {
            "RUNNER_URL": self.runner.url,
            "STORE_URL": f"sqlite://{self.folder}/gateway.db",
            "VAULT_URL": f"file://{self.folder}/vault",
            **self.github.environ(),
        }

    def start_worker(self) -> "subprocess.Popen[bytes]":
        """A worker as the job has it."""
        log = (self.folder / f"worker-{len(self.workers)}.log").open("wb")
        worker = subprocess.Popen(
            [sys.executable, "-m", "gateway.worker"],
            env=self.environ(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()
        self.workers.append(worker)
        return worker

    def work(self) -> None:
        """A worker, until it is done."""
        worker = self.start_worker()
        assert worker.wait(SECONDS) == 0, self.log()

    def log(self) -> str:
        """What all workers said."""
        logs = sorted(self.folder.glob("worker-*.log"))
        return "".join(path.read_text() for path in logs)

    def items(self, repository: Repository) -> list[WorkItem]:
        """The items of a repository, in the order of their arrival."""
        store = self.store()
        try:
            found = [
                item
                for item in all_items(store)
                if item.asked is not None and item.asked["repository"]["id"] == repository.ref.id
            ]
        finally:
            store.close()
        return sorted(found, key=lambda item: item.created_at)

    def until_over(self, repository: Repository, number: int = 1) -> list[WorkItem]:
        """The items of a repository, once there are so many and all are over."""

        def over() -> bool:
            found = self.items(repository)
            return len(found) >= number and all(item.state in FINAL for item in found)

        until(over, lambda: f"{self.items(repository)}\n{self._logs()}")
        return self.items(repository)

    def _logs(self) -> str:
        return self.log() + (self.gateway.log() if self.gateway is not None else "")

    def until_state(self, repository: Repository, state: State) -> WorkItem:
        """The one item of a repository, once it is there."""
        until(
            lambda: [item.state for item in self.items(repository)] == [state],
            lambda: f"never {state}: {self._logs()}",
        )
        return self.items(repository)[0]

    def session(self, repository: Repository, issue: int) -> Session:
        """The session of an issue."""
        store = self.store()
        found = store.get(f"sessions/{key_of(ISSUES, f'issue-{repository.ref.id}-{issue}')}")
        store.close()
        assert found is not None
        return Session.from_data(found.id, found.data)

    def let_leases_run_out(self, repository: Repository) -> None:
        """As if half a minute had passed."""
        store = self.store()
        for item in self.items(repository):
            if item.held:
                late = replace(item, lease_until=datetime.now(UTC) - timedelta(seconds=1))
                store.write([Put(late.path, late.to_data())])
        store.close()


@contextmanager
def issue_service(
    github: GitHub, runner: servers.Server, folder: Path, *, starts_workers: bool = True
) -> Iterator[Service]:
    """All of it; or only the webhook function, for tests that start their own workers."""
    service = Service(folder=folder, github=github, runner=runner)
    try:
        environ = github.environ() | {"MAX_CONCURRENT_SESSIONS": "20"}
        target = "gateway"
        if not starts_workers:
            target = "webhook"
            environ |= {"WORKER_JOB": NO_JOB}
        with servers.running_gateway(
            runner.url, folder, target=target, port=0, **environ
        ) as gateway:
            service.gateway = gateway
            yield service
    finally:
        for worker in service.workers:
            servers.kill_group(worker.pid)
            worker.send_signal(signal.SIGKILL)
            worker.wait()
