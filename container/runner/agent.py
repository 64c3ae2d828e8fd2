"""Claude Code as a process of one run: started, spoken to, read, stopped, never left behind.

The Agent SDK builds the command line and speaks the control protocol; the process itself and its
streams are ours, through the SDK's `Transport` seam. What the CLI prints goes to the run as it is,
and only the few lines the SDK must see are parsed for it: its own transport parses every line.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import structlog
from claude_agent_sdk import Transport, query

from claude_run.errors import AgentError
from runner.cancellation import to_the_end
from runner.lines import Kind, Line, LineSplitter, LineTooLongError, classify
from runner.pipes import PipeReader, open_input, writer

if TYPE_CHECKING:
    from claude_agent_sdk import ClaudeAgentOptions

log = structlog.get_logger()

LAUNCHER = Path(__file__).with_name("launch.py")
CANNOT_START = 70

# Kept for the reason why a process could not start; what it says later is of no use to a caller.
STDERR_BYTES = 4 * 1024
# The launcher's own grace, after which it kills; ours for the launcher is longer.
GRACE_SECONDS = 1.0
LAUNCHER_GRACE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An unprivileged user of the run's own."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the processes of one run may use; the disk has a watch of its own (`disk.py`)."""

    processes: int = 512
    open_files: int = 16_384
    file_bytes: int = 2 * 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """Everything one Claude Code process is started with."""

    options: "ClaudeAgentOptions"
    prompt: str
    initialize: Mapping[str, Any]
    environment: Mapping[str, str]
    workspace: Path
    fifo: Path | None  # where the prompt's named pipe is made; None: a plain pipe
    user: User | None
    limits: Limits
    cli: Path | None = None  # None: the CLI that the SDK bundles


class _EndedEarlyError(Exception):
    """The process ended before it spoke the control protocol."""


Emit = Callable[[list[Line]], Awaitable[None]]


@dataclass(slots=True)
class AgentProcess(Transport):
    """One process. `run()` once; `stop()` at any time, from any task, as often as you like."""

    invocation: Invocation
    emit: Emit
    exit_status: int | None = None
    _process: asyncio.subprocess.Process | None = None
    _input: asyncio.StreamWriter | None = None
    _output: PipeReader | None = None
    _complaints: PipeReader | None = None
    _stderr: bytearray = field(default_factory=bytearray)
    _stderr_task: "asyncio.Task[None] | None" = None

    async def run(self) -> None:
        """Start, send the prompt, hand every line to `emit`, return when the process has ended.

        Raises `AgentError` where it could not start or its output cannot be read. What the result
        line says is the caller's to judge.
        """
        try:
            # `async for` alone would leave the SDK's reader running when we are cancelled.
            messages = cast(
                "AsyncGenerator[object, None]",
                query(
                    prompt=self.invocation.prompt, options=self.invocation.options, transport=self
                ),
            )
            async with aclosing(messages):
                async for _ in messages:
                    pass
        except LineTooLongError:
            raise AgentError("Claude Code printed a line without an end.") from None
        except _EndedEarlyError:
            log.info("agent ended before it was ready")  # that it has no result is told later
        finally:
            await to_the_end(self.stop())

    def stderr_tail(self) -> str:
        """The end of what was printed on standard error."""
        return self._stderr.decode("utf-8", "replace").strip()

    # --- Transport: what the SDK calls -------------------------------------------------------

    async def connect(self) -> None:
        """Start the launcher, which starts Claude Code."""
        read_end, write_end = open_input(self.invocation.fifo)
        # Pipes of ours, none of asyncio's: its `wait` waits for whoever holds one, and on a laptop
        # an agent can kill its launcher and leave somebody behind who does.
        self._output, self._complaints = PipeReader(), PipeReader()
        try:
            # Half way, a cancelled start would lose a launcher that may have started the agent.
            await to_the_end(
                self._start(read_end, self._output.write_end, self._complaints.write_end)
            )
        except BaseException as error:
            os.close(write_end)  # also when cancelled
            if isinstance(error, OSError):
                reason = f"Claude Code could not be started: {error.strerror}."
                raise AgentError(reason) from error
            raise
        finally:
            os.close(read_end)
            os.close(self._output.write_end)
            os.close(self._complaints.write_end)
        self._input = await writer(write_end)
        self._stderr_task = asyncio.create_task(self._read_stderr(self._complaints))

    async def _start(self, stdin: int, stdout: int, stderr: int) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command(),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=self.invocation.workspace,
            env=dict(self.invocation.environment),
            start_new_session=True,
        )

    async def write(self, data: str) -> None:
        """Send one line of the control protocol, ours added where the SDK has no room for it."""
        if self._input is None:
            return
        with suppress(ConnectionError):  # the process has ended; reading tells how
            self._input.write(with_initialize(data, self.invocation.initialize).encode())
            await self._input.drain()

    async def end_input(self) -> None:
        """Close standard input: Claude Code ends when the turn is over."""
        if self._input is not None:
            self._input.close()
            self._input = None

    async def _read(self) -> AsyncIterator[dict[str, Any]]:
        if self._output is None:
            raise AgentError("Claude Code was not started.")
        splitter = LineSplitter()
        ready = False
        while chunk := await self._output.read():
            lines = [classify(raw) for raw in splitter.feed(chunk)]
            await self.emit(lines)
            for line in lines:
                # The SDK needs nothing else of us: it closes the input after the prompt, and it
                # would end a run over a message that it does not know.
                if line.kind is Kind.CONTROL:
                    ready = True
                    yield line.value
        if rest := splitter.unfinished():
            # Half a line is the end of a process that died; whole JSON only lacks its newline.
            await self.emit([classify(rest)])
        if not ready:
            # At a plain end the SDK would wait a minute for the answer to its initialize request.
            raise _EndedEarlyError

    def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        """The lines that the SDK must see; all of them go to `emit`."""
        return self._read()

    async def close(self) -> None:
        """The SDK is done with the streams; the process is `run`'s to stop."""
        await self.end_input()

    def is_ready(self) -> bool:
        """Whether the process was started and its input is open."""
        return self._input is not None

    # --- the process -------------------------------------------------------------------------

    async def stop(self) -> None:
        """End everything of the run, however it hides, and collect it."""
        await self.end_input()
        if self._output is not None:
            self._output.close()
        if self._process is not None:
            await self._end(self._process)
            self.exit_status = self._process.returncode
        if self._stderr_task is not None:
            # The pipe can outlive the process only in hands that nobody could kill.
            await asyncio.wait([self._stderr_task], timeout=GRACE_SECONDS)
            self._stderr_task.cancel()
            await asyncio.wait([self._stderr_task])
        if self._complaints is not None:
            self._complaints.close()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            # Not `send_signal`: it asks for the exit status first, and takes it from asyncio, which
            # then reports 255.
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), GRACE_SECONDS + LAUNCHER_GRACE_SECONDS)
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if process.returncode is not None and process.returncode < 0:
            await self._sweep()

    async def _sweep(self) -> None:
        """In the place of a launcher that did not come to its end: nothing of the user survives."""
        user = self.invocation.user
        if user is None:
            return
        sweeper = await asyncio.create_subprocess_exec(
            *_launch(), json.dumps({"uid": user.uid, "gid": user.gid})
        )
        try:
            await asyncio.wait_for(sweeper.wait(), LAUNCHER_GRACE_SECONDS)
        except TimeoutError:
            log.error("processes of a run could not be ended", uid=user.uid)

    async def _read_stderr(self, complaints: PipeReader) -> None:
        while chunk := await complaints.read():
            self._stderr += chunk
            del self._stderr[:-STDERR_BYTES]

    def _command(self) -> list[str]:
        spec = {
            "parent": os.getpid(),
            "uid": self.invocation.user.uid if self.invocation.user else None,
            "gid": self.invocation.user.gid if self.invocation.user else None,
            "processes": process_limit(self.invocation),
            "open_files": self.invocation.limits.open_files,
            "file_bytes": self.invocation.limits.file_bytes,
            "grace": GRACE_SECONDS,
        }
        return [
            *_launch(),
            json.dumps(spec),
            *command_line(self.invocation.options, self.invocation.cli),
        ]


def _launch() -> list[str]:
    return [sys.executable, "-I", "-S", str(LAUNCHER)]


def process_limit(invocation: Invocation) -> int:
    """RLIMIT_NPROC counts the threads of a user: with a shared user, on top of what it has now."""
    if invocation.user is not None:
        return invocation.limits.processes
    return invocation.limits.processes + _threads_of(os.getuid())


def _threads_of(uid: int) -> int:
    count = 0
    for process in Path("/proc").iterdir() if sys.platform == "linux" else ():
        with suppress(OSError):
            if process.name.isdigit() and process.stat().st_uid == uid:
                count += len(os.listdir(process / "task"))  # noqa: PTH208 - names only, no paths
    return count


def command_line(options: "ClaudeAgentOptions", cli: Path | None) -> list[str]:
    """Claude Code's command line, as the SDK builds it for its own transport.

    The SDK offers no public way to that list; its wheel is pinned by hash together with the CLI,
    and the tests that show each parameter's effect fail if this changes.
    """
    from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport

    transport = SubprocessCLITransport(prompt="", options=options)
    transport._cli_path = str(cli) if cli else transport._find_cli()  # noqa: SLF001
    return transport._build_command()  # noqa: SLF001


def with_initialize(data: str, fields: Mapping[str, Any]) -> str:
    """Add `fields` to the SDK's initialize request; every other line stays as it is."""
    if not fields or '"initialize"' not in data:
        return data
    message = json.loads(data)
    if message.get("type") == "control_request":
        request = message.get("request", {})
        if request.get("subtype") == "initialize":
            request.update(fields)
            return json.dumps(message) + "\n"
    return data
