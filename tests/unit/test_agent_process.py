"""A Claude Code that cannot start, is not waited for or does not end: it leaves nothing behind."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from claude_agent_sdk import ClaudeAgentOptions

from claude_run.errors import AgentError
from doubles.claude_cli import ANSWER
from processes import assert_gone, end_all_with, long_sleep, wait_for_start
from runner import lines
from runner.accounts import Accounts, may_change_users
from runner.agent import AgentProcess, Invocation, Limits, User
from runner.lines import Line


def invocation(
    workspace: Path,
    fifo: Path | None = None,
    *,
    cli: Path = Path("/bin/true"),
    user: User | None = None,
) -> Invocation:
    return Invocation(
        options=ClaudeAgentOptions(),
        prompt="x",
        initialize={},
        environment={},
        workspace=workspace,
        fifo=fifo,
        user=user,
        limits=Limits(),
        cli=cli,
    )


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user can enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def program(folder: Path, script: str) -> Path:
    """A Claude Code that does this."""
    path = folder / "claude"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


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


@pytest.mark.parametrize("steps", [2, 3, 40])
def test_a_start_cancelled_half_way_leaves_no_process(tmp_path: Path, steps: int) -> None:
    """The launcher may have started the agent by then, and the agent others."""
    mark = long_sleep()
    cli = program(tmp_path, f"sleep {mark} & wait")

    async def story() -> None:
        agent = AgentProcess(invocation=invocation(tmp_path, cli=cli), emit=emit)
        starting = asyncio.create_task(agent.connect())
        for _ in range(steps):
            await asyncio.sleep(0)
        wait_for_start(f"sleep {mark}")
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        await agent.stop()

    asyncio.run(story())
    assert_gone(mark)


def test_a_line_without_an_end_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would fill the runner's memory: the agent is ended, and told to be at fault."""
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100_000)
    mark = long_sleep()
    cli = program(tmp_path, f"{ANSWER}head -c 200000 /dev/zero | tr '\\0' x; sleep {mark}")
    agent = AgentProcess(invocation=invocation(tmp_path, cli=cli), emit=emit)
    before = descriptors()

    async def story() -> None:
        async with asyncio.timeout(60):
            await agent.run()

    with pytest.raises(AgentError, match="a line without an end"):
        asyncio.run(story())
    assert_gone(mark)
    assert descriptors() <= before


async def without_its_launcher(agent: AgentProcess, mark: str) -> None:
    await agent.connect()
    await asyncio.to_thread(wait_for_start, f"sleep {mark}")
    assert agent._process is not None
    os.kill(agent._process.pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        await agent.stop()
    assert agent.exit_status == -signal.SIGKILL


def test_who_holds_the_pipes_of_a_killed_launcher_is_not_waited_for(tmp_path: Path) -> None:
    """Without a user of its own an agent can kill it. What escaped is not ours to find then."""
    mark = long_sleep()
    cli = program(tmp_path, f"setsid sleep {mark} & wait")
    agent = AgentProcess(invocation=invocation(tmp_path, cli=cli), emit=emit)
    before = descriptors()
    try:
        asyncio.run(without_its_launcher(agent, mark))
        assert descriptors() <= before
    finally:
        end_all_with(mark)


@pytest.mark.root
@pytest.mark.skipif(not may_change_users(), reason="needs root, as in the image")
def test_a_user_of_its_own_is_swept_for_a_killed_launcher(reachable: Path) -> None:
    """As the kernel may kill it when memory runs out."""
    mark = long_sleep()
    cli = program(reachable, f"setsid sleep {mark} >/dev/null 2>&1 & wait")
    with Accounts(privileged=True).borrow() as user:
        agent = AgentProcess(invocation=invocation(reachable, cli=cli, user=user), emit=emit)
        asyncio.run(without_its_launcher(agent, mark))
    assert_gone(mark)
