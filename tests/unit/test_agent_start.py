"""A Claude Code that could not start, or was not waited for, leaves no descriptor open."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest
from claude_agent_sdk import ClaudeAgentOptions

from claude_run.errors import AgentError
from runner.agent import AgentProcess, Invocation, Limits
from runner.lines import Line


def invocation(workspace: Path, fifo: Path | None) -> Invocation:
    return Invocation(
        options=ClaudeAgentOptions(),
        prompt="x",
        initialize={},
        environment={},
        workspace=workspace,
        fifo=fifo,
        user=None,
        limits=Limits(),
        cli=Path("/bin/true"),
    )


async def emit(_lines: list[Line]) -> None:
    """Nobody listens."""


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


async def cancelled_start(agent: AgentProcess) -> None:
    starting = asyncio.create_task(agent.connect())
    await asyncio.sleep(0)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    await agent.stop()


async def failed_start(agent: AgentProcess) -> None:
    with pytest.raises(AgentError):
        await agent.connect()
    await agent.stop()


async def taken_name(agent: AgentProcess) -> None:
    with pytest.raises(FileExistsError):
        await agent.connect()
    await agent.stop()


def test_every_descriptor_is_closed(tmp_path: Path) -> None:
    """Cancelled while it starts, in a folder that is not there, a pipe's name taken."""
    taken = tmp_path / "taken"
    os.mkfifo(taken)

    async def story() -> None:
        for start, workspace, fifo in (
            (cancelled_start, tmp_path, tmp_path / "fifo"),
            (failed_start, tmp_path / "absent", None),
            (taken_name, tmp_path, taken),
        ):
            before = descriptors()
            await start(AgentProcess(invocation=invocation(workspace, fifo), emit=emit))
            await asyncio.sleep(0.05)
            assert descriptors() <= before, start.__name__

    asyncio.run(story())
