"""From an issue to a pull request as it is deployed: functions, job, Firestore, Secret Manager.

Each part has the environment that `deploy.sh` gives it, and nothing else in common. The store is
Google's emulator. The vault and the job's API are local servers that speak as Google's do, and an
execution of the job is a real process.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

import servers
from deployed import PROJECT, REGION, token, variables
from doubles.firestore_emulator import Emulator, firestore_emulator
from doubles.github import BOT, GitHub
from doubles.recording_server import Asked, recording_server
from doubles.secret_manager import SecretManager, Version, secret_manager
from gateway.vault import payload
from gateway.work.record import FINAL
from issue_service import asking, until, writing

pytestmark = pytest.mark.e2e

_JOB = f"projects/{PROJECT}/locations/{REGION}/jobs/claude-run-worker"
# Tests look again and again.
UNLIMITED = {f"RATE_LIMIT_PER_{span}": "100000" for span in ("MINUTE", "HOUR", "DAY")}
_STARTED = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}"


@dataclass(slots=True)
class Jobs:
    """The job's API: each call of it starts an execution, which is a process."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    executions: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def script(self, asked: Asked, send: Callable[[bytes], None]) -> None:
        """`run`, and nothing else."""
        assert asked.line.startswith(f"POST /v2/{_JOB}:run")
        # Starting without overrides is all that the invoker's role allows.
        assert json.loads(asked.body or b"{}").keys() <= {"name"}
        with (self.folder / f"execution-{len(self.executions)}.log").open("wb") as log:
            self.executions.append(
                subprocess.Popen(
                    [sys.executable, "-m", "gateway.worker"],
                    env=self.environ,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        body = json.dumps({"name": f"{_JOB}/operations/1", "done": False})
        send(_STARTED.format(len(body), body).encode())

    def log(self) -> str:
        """What all of them said."""
        logs = sorted(self.folder.glob("execution-*.log"))
        return "".join(path.read_text() for path in logs)

    def end(self) -> None:
        """None is left."""
        for execution in self.executions:
            servers.kill_group(execution.pid)
            execution.wait(servers.STOP_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The parts, as far as anybody outside reaches them."""

    webhook: servers.Server
    api: servers.Server
    jobs: Jobs

    def ask(self, method: str, path: str, *, email: str = "ann@example.com") -> Any:  # noqa: ANN401
        """What `api` answers behind IAM."""
        headers = {"Authorization": f"Bearer {token(email)}"}
        url = f"{self.api.url}{path}"
        answer = httpx2.request(method, url, headers=headers, trust_env=False, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def said(self) -> str:
        """What all parts have logged."""
        return self.jobs.log() + self.webhook.log() + self.api.log()

    def until_over(self, number: int) -> list[dict[str, Any]]:
        """The newest deliveries, once so many are over."""

        def found() -> list[dict[str, Any]]:
            listed: list[dict[str, Any]] = self.ask("GET", "/deliveries?limit=10")["deliveries"]
            return listed

        def over() -> bool:
            listed = found()
            return len(listed) == number and all(one["state"] in FINAL for one in listed)

        until(over, lambda: f"{found()}\n{self.said()}")
        return found()


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """Firestore."""
    with firestore_emulator() as running:
        yield running


@pytest.fixture
def deployment(
    emulator: Emulator, github: GitHub, model: servers.Server, tmp_path: Path
) -> Iterator[Deployment]:
    """All of it, with an empty store."""
    jobs = Jobs(tmp_path)
    with ExitStack() as stack:
        vault = stack.enter_context(secret_manager())
        stack.callback(jobs.end)
        api = stack.enter_context(recording_server(jobs.script))
        runner = stack.enter_context(
            servers.running_runner(model.url, ALLOWED_GIT_HOSTS="localhost", ANTHROPIC_API_KEY="")
        )
        keep(vault, github)
        here = {
            "FIRESTORE_EMULATOR_HOST": emulator.host,
            "STORE_URL": f"firestore://{PROJECT}/claude-run-{uuid4()}",
            "VAULT_URL": f"secretmanager://{PROJECT}?endpoint={vault.host}",
            # For the line that names the port.
            "GUNICORN_LOG_LEVEL": "info",
            "GITHUB_API_URL": github.url,
            "GITHUB_SERVER_URL": github.url,
            "GITHUB_APP_ID": github.app_id,
        }
        job = {"WORKER_JOB": f"{_JOB}?endpoint=127.0.0.1:{api.port}"}
        reaching = {"RUNNER_URL": runner.url}
        kept = {name: os.environ[name] for name in servers.KEPT if name in os.environ}
        jobs.environ = (
            kept
            | variables(f"jobs deploy {_JOB.rpartition('/')[2]}")
            | here
            | reaching
            | {"CLOUD_RUN_JOB": "claude-run-worker"}
        )
        yield Deployment(
            webhook=stack.enter_context(function("webhook", here | job)),
            api=stack.enter_context(
                function("api", here | job | reaching | UNLIMITED | {"RUNNER_SERVICE": ""})
            ),
            jobs=jobs,
        )


def keep(vault: SecretManager, github: GitHub) -> None:
    """The secrets that a deployment makes, with what the set-up puts into them."""
    values = {
        "github-private-key": github.private_key,
        "github-webhook-secret": github.webhook_secret,
        "anthropic-api-key": servers.PLANTED_KEY,
    }
    for name, value in values.items():
        secret = f"projects/{PROJECT}/secrets/{name}"
        vault.secrets[secret] = [Version(f"{secret}/versions/1", payload.encode(name, (value,)))]


def function(name: str, environ: dict[str, str]) -> Any:  # noqa: ANN401 - a context
    """A function with the environment of its deployment, but for where things are here."""
    told = variables(f"--function={name}") | environ | {"K_SERVICE": f"claude-run-{name}"}
    command = [sys.executable, "-m", "functions_framework", "--source", "functions/main.py",
               "--target", name, "--host", "127.0.0.1", "--port", "0"]  # fmt: skip
    return servers.started(command, environ={name: value for name, value in told.items() if value})


def test_an_issue_and_a_comment_on_what_came_of_it(deployment: Deployment, github: GitHub) -> None:
    """One pull request with both commits; an operator sees what came in, a caller does not."""
    repository = github.create({"README.md": "# Hello\n"})
    repository.hook(f"{deployment.webhook.url}/webhooks/github")
    text = asking("Please write one.", *writing("one.txt", "1\n"))
    issue = repository.open_issue("Count", text)["number"]
    deployment.until_over(1)
    (pull,) = repository.pulls()
    assert [one["state"] for one in deployment.ask("GET", "/deliveries")["deliveries"]] == ["done"]
    repository.comment(pull["number"], asking("@claude now two", *writing("two.txt", "2\n")))
    deployment.until_over(2)
    assert len(repository.pulls()) == 1
    files = repository.files(pull["head"]["ref"])
    assert (files["one.txt"][1], files["two.txt"][1]) == (b"1\n", b"2\n")
    session = f"issue-{repository.ref.id}-{issue}"
    assert deployment.ask("GET", f"/interactive/{session}")["currentTurn"] == 2
    assert deployment.ask("GET", "/interactive", email="bob@example.com")["sessions"] == []
    for secret in (servers.PLANTED_KEY, github.webhook_secret, github.private_key[100:160]):
        assert secret not in deployment.said()


def test_an_execution_that_dies_is_followed_by_one_that_publishes(
    deployment: Deployment, github: GitHub
) -> None:
    """Killed while the agent runs: the sweep starts another, which does not run it again."""
    repository = github.create({"README.md": "# Hello\n"})
    repository.hook(f"{deployment.webhook.url}/webhooks/github")
    slow = servers.say("slow " * 600, chunk_size=5, delay_ms=100)
    written = servers.use("Write", file_path="{{cwd}}/half.txt", content="half\n")
    issue = repository.open_issue("Slowly", asking("Please write.", written, slow))["number"]

    def has_half() -> bool:
        state = deployment.ask("GET", "/deliveries")["deliveries"]
        return bool(state) and state[0]["state"] == "running" and len(checkpoints()) > 0

    def checkpoints() -> list[str]:
        session = f"/interactive/issue-{repository.ref.id}-{issue}/events"
        url = f"{deployment.api.url}{session}"
        headers = {"Authorization": f"Bearer {token()}"}
        seen = ""
        with httpx2.stream("GET", url, headers=headers, trust_env=False, timeout=60) as answer:
            for chunk in answer.iter_text():
                seen += chunk
                if "event: file_change" in seen:
                    break
        return re.findall("event: file_change", seen)

    until(lambda: bool(deployment.ask("GET", "/deliveries")["deliveries"]), deployment.said)
    until(has_half, deployment.said, pause=0.5)
    [execution] = deployment.jobs.executions
    os.killpg(execution.pid, signal.SIGKILL)
    execution.wait()
    scheduler = variables("--function=api")["SCHEDULER_ACCOUNT"]

    def sweep_starts_another() -> bool:
        deployment.ask("POST", "/internal/sweep", email=scheduler)
        return len(deployment.jobs.executions) > 1

    until(sweep_starts_another, deployment.said, pause=1.0)
    [one] = deployment.until_over(1)
    assert one["state"] == "interrupted"
    (pull,) = repository.pulls()
    assert pull["draft"]
    assert repository.files(pull["head"]["ref"])["half.txt"][1] == b"half\n"
    comments = [one["body"] for one in repository.comments(issue) if one["user"]["login"] == BOT]
    assert len(comments) == 1
    assert pull["html_url"] in comments[0]
