"""Real processes for tests: started in a session of their own, waited for, ended as a group."""

import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from claude_run.sse import Decoder, ServerSentEvent

START_SECONDS = 30.0
STOP_SECONDS = 15.0
LOWEST_PRIORITY = 19
REPOSITORY = Path(__file__).parent.parent
# What a server of ours needs from this machine; everything else is the test's to name.
KEPT = ("PATH", "LANG", "HOME", "SSL_CERT_FILE")

# Another one in each process of the tests: what is searched for is no other one's.
PLANTED_KEY = f"sk-planted-anthropic-key-{secrets.token_hex(8)}"
PLANTED_GITHUB_TOKEN = "ghs_planted.github-token_0123456789"


@dataclass(slots=True)
class Server:
    """A running process of ours and the address it printed."""

    process: subprocess.Popen[bytes]
    url: str
    output: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def log(self) -> str:
        """All it has printed so far, on both streams."""
        return "".join(self.output)

    def give_way(self) -> None:
        """What it does from now on, and all that it starts, lets other tests go first."""
        os.setpriority(os.PRIO_PROCESS, self.process.pid, LOWEST_PRIORITY)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Signal the process, wait, kill its group for good. Returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            status = self.process.wait(STOP_SECONDS)
        finally:
            kill_group(self.process.pid)
        return status


def kill_group(pid: int) -> None:
    """End whatever is left of a process group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def started(
    command: Sequence[str], *, environ: Mapping[str, str], ready: str = "http://"
) -> Iterator[Server]:
    """Start a server, wait until a line of its output holds an address, end it afterwards."""
    process = subprocess.Popen(
        command,
        env={name: os.environ[name] for name in KEPT if name in os.environ} | dict(environ),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    server = Server(process=process, url="")
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, server.output, lines), daemon=True)
    reader.start()
    try:
        server.url = _address(lines, ready, server)
        yield server
    finally:
        try:
            server.stop()
        finally:
            reader.join(STOP_SECONDS)
            if process.stdout is not None:
                process.stdout.close()


def _read(process: subprocess.Popen[bytes], output: list[str], lines: "queue.Queue[str]") -> None:
    assert process.stdout is not None
    for raw in process.stdout:
        line = raw.decode("utf-8", "replace")
        output.append(line)
        lines.put(line)
    lines.put("")


def _address(lines: "queue.Queue[str]", ready: str, server: Server) -> str:
    deadline = time.monotonic() + START_SECONDS
    while True:
        line = lines.get(timeout=max(0.01, deadline - time.monotonic()))
        if not line:
            raise AssertionError(f"the server ended at once: {server.log()}")
        if ready in line:
            return ready + line.partition(ready)[2].split()[0].strip('"}')


@contextmanager
def scripted_model(*arguments: str) -> Iterator[Server]:
    """The scripted model on a free port."""
    command = [sys.executable, "-m", "runner.scripted", "--port", "0", *arguments]
    with started(command, environ={}) as server:
        yield server


@contextmanager
def running_runner(
    upstream: str, *, command: Sequence[str] = ("-m", "runner"), **environ: str
) -> Iterator[Server]:
    """A runner on a free port, its own credential planted."""
    environ = {
        "PORT": "0",
        "ANTHROPIC_BASE_URL": upstream,
        "ANTHROPIC_API_KEY": PLANTED_KEY,
        "ALLOWED_GIT_HOSTS": "github.com,127.0.0.1",
    } | environ
    environ = {name: value for name, value in environ.items() if value}
    with started([sys.executable, *command], environ=environ) as server:
        yield server


@contextmanager
def running_gateway(
    runner: str,
    folder: Path,
    *,
    target: str = "gateway",
    port: int = 0,
    command: Sequence[str] = ("-m", "functions_framework"),
    **environ: str,
) -> Iterator[Server]:
    """The gateway as functions-framework serves it (port 0: a free one), its state in `folder`."""
    environ = {
        "RUNNER_URL": runner,
        "STORE_URL": f"sqlite://{folder}/gateway.db",
        "VAULT_URL": f"file://{folder}/vault",
        # Tests call more often than a caller may.
        "RATE_LIMIT_PER_MINUTE": "100000",
        "RATE_LIMIT_PER_HOUR": "100000",
        "RATE_LIMIT_PER_DAY": "100000",
        # For the line that names the port.
        "GUNICORN_LOG_LEVEL": "info",
    } | environ
    environ = {name: value for name, value in environ.items() if value}
    command = [
        *(sys.executable, *command),
        *("--source", "functions/main.py", "--target", target),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    with started(command, environ=environ) as server:
        yield server


@dataclass(slots=True, kw_only=True)
class Stream:
    """A whole answer of `POST /run`."""

    status: int
    headers: httpx2.Headers
    events: list[ServerSentEvent]
    body: bytes

    def data(self, event: str) -> list[Any]:
        """The parsed data of all events of a name."""
        return [json.loads(found.data) for found in self.events if found.event == event]

    @property
    def result(self) -> dict[str, Any]:
        """Claude Code's result line."""
        return next(m for m in reversed(self.data("message")) if m["type"] == "result")

    @property
    def init(self) -> dict[str, Any]:
        """Claude Code's init line."""
        return next(m for m in self.data("message") if m.get("subtype") == "init")

    @property
    def text(self) -> str:
        """The text, as it came in deltas."""
        deltas = (m["event"] for m in self.data("message") if m["type"] == "stream_event")
        return "".join(
            event["delta"]["text"]
            for event in deltas
            if event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta"
        )

    @property
    def error(self) -> dict[str, Any] | None:
        """The data of the `error` event, if there was one."""
        return next(iter(self.data("error")), None)

    @property
    def changes(self) -> dict[str, Any]:
        """The last change set."""
        found: dict[str, Any] = self.data("changes")[-1]
        return found

    def tool_results(self) -> list[dict[str, Any]]:
        """The tool_result blocks that went back to the model, in order."""
        return [
            block
            for message in self.data("message")
            if message["type"] == "user"
            for block in message["message"]["content"]
            if isinstance(block, dict) and block.get("type") == "tool_result"
        ]


def post_run(
    url: str, body: Mapping[str, Any] | bytes, *, headers: Mapping[str, str] | None = None
) -> Stream:
    """`POST /run`, read to its end; decoded where it is a stream."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with httpx2.Client(timeout=120, trust_env=False) as client:
        answer = client.post(
            f"{url}/run",
            content=content,
            headers={"Content-Type": "application/json"} | dict(headers or {}),
        )
    events: list[ServerSentEvent] = []
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        events = list(Decoder().feed(answer.content))
    return Stream(
        status=answer.status_code, headers=answer.headers, events=events, body=answer.content
    )


def scenario(*turns: Mapping[str, Any]) -> str:
    """A prompt that makes the scripted model play these turns."""
    text = json.dumps({"turns": list(turns)}).replace("</", "<\\/")
    return f"Play this. <scenario>{text}</scenario>"


def say(text: str, **fields: object) -> dict[str, Any]:
    """A turn of one text."""
    return {"blocks": [{"type": "text", "text": text, **fields}]}


def use(name: str, **tool_input: object) -> dict[str, Any]:
    """A turn of one tool call."""
    return {"blocks": [{"type": "tool_use", "name": name, "input": tool_input}]}


def recorded(model: Server, marker: str) -> list[dict[str, Any]]:
    """What the scripted model was asked that speaks of `marker`, oldest first."""
    requests: list[dict[str, Any]] = httpx2.get(f"{model.url}/requests", trust_env=False).json()
    return [request for request in requests if marker in request["body"]]


def last_request(model: Server, marker: str) -> dict[str, Any]:
    """The body of the newest request to the Messages API that speaks of `marker`."""
    body: dict[str, Any] = json.loads(recorded(model, marker)[-1]["body"])
    return body


def remove(path: Path) -> None:
    """Remove what a killed server could not."""
    shutil.rmtree(path, ignore_errors=True)
