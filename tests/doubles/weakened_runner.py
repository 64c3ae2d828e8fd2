"""The runner with named mechanisms taken out: `python weakened_runner.py NAME…`.

An attack that fails against the runner shows nothing until it has succeeded against this. Some
names only make a limit small enough for a test; they take nothing out.
"""

import ctypes
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import runner.__main__ as starter
from claude_run.wire import RunRequest
from runner import agent, disk, folders, launch, options, runs
from runner.agent import Limits

LAPTOP_UID = 30_000
SMALL_DISK = 48 * 1024**2
SMALL_PROCESSES = 60
# A Python that any user can start, with the standard library alone: enough for the launcher.
SYSTEM_PYTHON = "/usr/bin/python3"

_ENVIRON = dict(os.environ)


def shared_user() -> None:
    """Every run has the runner's own user."""
    starter.may_change_users = lambda: False


def readable() -> None:
    """Other processes of the same user may read the runner's environment and memory."""
    starter.prctl = lambda _option, _value: None


def laptop() -> None:
    """Nothing taken out: the runner as an ordinary user, for tests that root runs."""
    if os.geteuid() != 0:
        return
    # What is imported late could not be found: root's Python may be root's alone.
    import anyio._backends._asyncio
    import claude_agent_sdk._internal.client
    import claude_agent_sdk._internal.transport.subprocess_cli
    import uvicorn.lifespan.off
    import uvicorn.loops.asyncio
    import uvicorn.protocols.http.h11_impl
    import uvicorn.protocols.websockets.auto  # noqa: F401

    sys.executable = SYSTEM_PYTHON
    os.setgroups([])
    os.setresgid(LAPTOP_UID, LAPTOP_UID, LAPTOP_UID)
    os.setresuid(LAPTOP_UID, LAPTOP_UID, LAPTOP_UID)
    # The kernel has just forbidden what an ordinary process allows.
    ctypes.CDLL(None).prctl(launch.PR_SET_DUMPABLE, 1, 0, 0, 0)


def inherited_environment() -> None:
    """The agent's environment begins with the runner's, as the SDK has it."""
    made = options.environment
    options.environment = lambda **fields: _ENVIRON | made(**fields)


def obedient() -> None:
    """Whatever a repository configures holds."""
    sdk_options, environment = options.sdk_options, options.environment

    def careless(request: RunRequest, **fields: Any) -> Any:
        made = sdk_options(request, **fields)
        return replace(made, setting_sources=None, strict_mcp_config=False, verbatim_prompts=False)

    def open_environment(**fields: Any) -> dict[str, str]:
        made = environment(**fields)
        for name in ("ATTACHMENTS", "CLAUDE_MDS"):
            del made[f"CLAUDE_CODE_DISABLE_{name}"]
        return made

    options.sdk_options, options.environment = careless, open_environment


def unnamed_tools() -> None:
    """MCP tools that `allowedTools` leaves out are refused by nobody."""
    options.settings_file = lambda *_, **__: None


def small_disk() -> None:
    """Nothing taken out: a run may use 48 MiB."""
    disk.watch = partial(disk.watch, limit=SMALL_DISK)


def no_disk_watch() -> None:
    """Nobody looks how much disk a run uses."""

    async def nothing(*_: object, **__: object) -> None:
        return

    disk.watch = nothing


def few_processes() -> None:
    """Nothing taken out: a run may have 60 threads, of which Claude Code takes a third."""
    runs.Limits = partial(Limits, processes=SMALL_PROCESSES)


def no_sweep() -> None:
    """The launcher leaves alone what outlives the agent."""
    _relaunch({'kill_everything(spec["uid"])': "pass"})


def no_removal() -> None:
    """What a run leaves outside its folders stays."""
    folders.owned_by = lambda _uid: iter(())


def local_callers() -> None:
    """Whoever can connect may call, the agent too."""
    starter.own_agents = lambda _client, _port: False


def _relaunch(replacements: Mapping[str, str]) -> None:
    text = agent.LAUNCHER.read_text()
    for old, new in replacements.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    with tempfile.NamedTemporaryFile("w", suffix=".py", delete=False) as file:
        file.write(text)
    agent.LAUNCHER = Path(file.name)


WEAKNESSES: Mapping[str, Callable[[], None]] = {
    weakness.__name__.replace("_", "-"): weakness
    for weakness in (
        shared_user, readable, laptop, inherited_environment, obedient, unnamed_tools,
        small_disk, no_disk_watch, few_processes, no_sweep, no_removal, local_callers,
    )
}  # fmt: skip


if __name__ == "__main__":
    for name in sys.argv[1:]:
        WEAKNESSES[name]()
    sys.exit(starter.main())
