"""One run, from the clone to the change set."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from claude_run import spans, tracing
from claude_run.errors import AgentError, ClaudeRunError, Code, StoppedError
from runner import disk, options, transcripts
from runner.agent import AgentProcess, Invocation, Limits
from runner.broker.grants import Grant, Grants
from runner.cancellation import to_the_end
from runner.folders import Folders, write_readable
from runner.git.apply import apply_changes
from runner.git.clone import Clone, clone
from runner.git.snapshot import Snapshot
from runner.lines import Kind, Line
from runner.plan import Plan
from runner.settings import Settings
from runner.sinks import Frame, Sink
from runner.tools import unknown_tools
from runner.verdict import judge

CHECKPOINT_SECONDS = 20.0
# After the deadline, or once told to stop, a last look at the files may take this long…
LAST_SNAPSHOT_SECONDS = 30.0
# …and while the instance shuts down (Cloud Run: 10 s after SIGTERM) this long.
SHUTDOWN_SNAPSHOT_SECONDS = 3.0

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """A run with its folders made; `execute` once. `stop` from outside, at any time."""

    plan: Plan
    settings: Settings
    folders: Folders
    grants: Grants
    broker_url: str
    limits: Limits
    result: dict[str, Any] | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _stop_error: ClaudeRunError | None = None
    _snapshot: Snapshot | None = None
    _base: str | None = None
    _told_changes: bool = False
    _garbage: bool = False

    def stop(self, error: ClaudeRunError) -> None:
        """End the run; the first reason given is the one that is told."""
        if self._stop_error is None:
            self._stop_error = error
        self._stop.set()

    async def execute(self, sink: Sink) -> ClaudeRunError | None:
        """Do all of it; every event but `error` and `done` goes to `sink`.

        Returns the error the run ended with. No process of the run is left then; its folders are.
        """
        error: ClaudeRunError | None = None
        with spans.span("runner.run", session_id=self.plan.session_id) as span:
            try:
                await self._unless_stopped(self._work(sink))
            except ClaudeRunError as caught:
                error = caught
                span.fail(error.code)
            sink.finish()
            if self._snapshot is not None:
                await self._last_look(sink, self._snapshot)
        return error

    async def _unless_stopped(self, work: Awaitable[None]) -> None:
        """Run `work` until it ends, the deadline passes or `stop` is called, whatever is first."""
        task = asyncio.ensure_future(work)
        stopper = asyncio.create_task(self._stop.wait())
        minutes = self.plan.request.timeout_minutes
        try:
            await asyncio.wait(
                {task, stopper}, timeout=minutes * 60, return_when=asyncio.FIRST_COMPLETED
            )
            if task.done():
                await task
                return
        finally:
            stopper.cancel()
            await _end(task)
        raise self._stop_error or StoppedError(
            f"The run was stopped after its time (timeoutMinutes: {minutes:g}).",
            code=Code.TIMEOUT,
            details={"timeoutMinutes": minutes},
        )

    async def _work(self, sink: Sink) -> None:
        advice = await self._prepare()
        grant = Grant(
            upstream=self.plan.upstream,
            credential=self.plan.credential,
            budget_usd=self.plan.request.max_budget_usd,
        )
        with self.grants.issue(grant) as token, spans.span("runner.agent"):
            access = options.BrokerAccess(
                url=self.broker_url, token=token, variable=self.plan.credential.kind.value
            )
            agent = AgentProcess(
                invocation=self._invocation(access, advice),
                emit=lambda lines: self._emit(sink, lines),
            )
            async with self._watched(sink):
                await agent.run()
        self._conclude(agent)

    async def _prepare(self) -> str | None:
        """Fill the workspace and the configuration folder. Returns the repository's advice."""
        request, places, user = self.plan.request, self.folders.places, self.folders.user
        owner = (user.uid, user.gid) if user else None
        cloned: Clone | None = None
        if self.plan.source is not None:
            with spans.span("runner.clone"):
                cloned = await clone(
                    self.plan.source,
                    workspace=places.workspace,
                    token=request.github_token.get_secret_value() if request.github_token else None,
                    time_limit=request.timeout_minutes * 60,
                    owner=owner,
                )
        if request.changes is not None:
            await apply_changes(
                request.changes,
                workspace=places.workspace,
                base=cloned.base if cloned else None,
                owner=owner,
            )
        self._snapshot = Snapshot(
            workspace=places.workspace, scratch=self.folders.scratch, clone=cloned
        )
        self._base = cloned.base if cloned else None
        if request.resume is not None:
            await to_the_end(
                asyncio.to_thread(transcripts.restore, request.resume.transcript, places, user)
            )
        if (servers := options.mcp_file(request)) is not None:
            write_readable(places.mcp_config, Frame.of("", servers).data, user)
        # Not the agent's own: it holds the hook that refuses what is not allowed.
        if (rules := options.settings_file(request, self.settings.defaults)) is not None:
            write_readable(places.settings, Frame.of("", rules).data, user)
        return cloned.advice if cloned else None

    def _invocation(self, access: options.BrokerAccess, advice: str | None) -> Invocation:
        request, places = self.plan.request, self.folders.places
        return Invocation(
            options=options.sdk_options(
                request,
                defaults=self.settings.defaults,
                places=places,
                session_id=self.plan.session_id,
            ),
            prompt=request.prompt,
            initialize=options.initialize_fields(request, advice=advice),
            environment=options.environment(
                places=places,
                broker=access,
                path=self.settings.path,
                traceparent=tracing.traceparent(),
            ),
            workspace=places.workspace,
            fifo=self.folders.fifo if request.use_named_pipe else None,
            user=self.folders.user,
            limits=self.limits,
            cli=self.settings.cli,
        )

    @asynccontextmanager
    async def _watched(self, sink: Sink) -> AsyncIterator[None]:
        """Checkpoints while the agent works; the disk watch can end the run."""
        places = self.folders.places

        async def watch() -> None:
            try:
                await disk.watch(
                    (places.workspace, places.home, places.temporary), user=self.folders.user
                )
            except AgentError as error:
                self.stop(error)

        tasks = [asyncio.create_task(watch()), asyncio.create_task(self._checkpoints(sink))]
        try:
            yield
        finally:
            for task in tasks:
                await _end(task)

    async def _checkpoints(self, sink: Sink) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            if self._snapshot is not None:
                await self._write_changes(sink, self._snapshot, final=False)

    async def _last_look(self, sink: Sink, snapshot: Snapshot) -> None:
        """The final change set. When there is no time for it, the last checkpoint holds."""
        shutting_down = self._stop_error is not None and self._stop_error.code is Code.SHUTDOWN
        seconds = SHUTDOWN_SNAPSHOT_SECONDS if shutting_down else LAST_SNAPSHOT_SECONDS
        reason = f"The last files were not read within {seconds:g} seconds."
        try:
            async with asyncio.timeout(seconds):
                await self._write_changes(sink, snapshot, final=True)
            return
        except TimeoutError:
            pass
        except ClaudeRunError as error:
            reason = error.message
        except OSError as error:
            # A full disk, say. How the run ended is told all the same.
            log.warning("last look failed", session_id=self.plan.session_id, errno=error.errno)
            reason = f"The last files could not be read: {error.strerror}."
        await sink.write([_warning("CHANGES_INCOMPLETE", reason)])

    async def _write_changes(self, sink: Sink, snapshot: Snapshot, *, final: bool) -> None:
        try:
            changes = await snapshot.changes(final=final)
            if changes is not None:
                await sink.write(
                    [_warning(warned.code, warned.message) for warned in changes.warnings]
                    + [Frame.of("changes", await asyncio.to_thread(changes.to_json))]
                )
                self._told_changes = True
            elif final and not self._told_changes:
                await sink.write([Frame.of("changes", {"base": self._base, "files": []})])
        except BaseException:
            # The agent's end cancels a checkpoint, wherever it is. What it had found and nobody
            # was told is for the last look to tell.
            snapshot.forget()
            raise

    async def _emit(self, sink: Sink, lines: Sequence[Line]) -> None:
        frames: list[Frame] = []
        for line in lines:
            if line.kind is Kind.DELTA:
                frames.append(Frame(event="message", data=line.raw))
            elif line.kind is Kind.MESSAGE:
                frames.append(Frame(event="message", data=line.raw))
                frames.extend(self._notice(line.value))
            elif line.kind is Kind.TRANSCRIPT:
                part = transcripts.part(line.value, transcripts.project_folder(self.folders.places))
                if part is not None:
                    frames.append(Frame.of("transcript", part))
            elif line.kind is Kind.GARBAGE and not self._garbage:
                self._garbage = True
                frames.append(
                    _warning("AGENT_OUTPUT", "Claude Code printed something that is no message.")
                )
        if frames:
            await sink.write(frames)

    def _notice(self, message: dict[str, Any]) -> list[Frame]:
        """Remember the result; report tools that were asked for and do not exist."""
        if message["type"] == "result":
            self.result = message
        if message["type"] == "system" and message.get("subtype") == "init":
            asked = options.allowed_tools(self.plan.request, self.settings.defaults)
            return [
                _warning("UNKNOWN_TOOL", f"This Claude Code has no tool named {name}.")
                for name in unknown_tools(asked, message.get("tools") or ())
            ]
        return []

    def _conclude(self, agent: AgentProcess) -> None:
        """Raise what the run failed with, if it did."""
        if self.result is None:
            log.warning(
                "agent without result",
                session_id=self.plan.session_id,
                exit_status=agent.exit_status,
                stderr=agent.stderr_tail(),
            )
            raise AgentError(
                f"Claude Code ended without a result (exit status {agent.exit_status}).",
                details={"exitStatus": agent.exit_status, "stderr": agent.stderr_tail()[-500:]},
            )
        if (error := judge(self.result)) is not None:
            raise error


def _warning(code: str, message: str) -> Frame:
    return Frame.of("warning", {"code": code, "message": message})


async def _end(task: "asyncio.Future[None]") -> None:
    """Cancel a task and wait until it has cleaned up; what it raises then is of no interest."""
    if not task.done():
        task.cancel()
    await to_the_end(asyncio.wait([task]))
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not report it
