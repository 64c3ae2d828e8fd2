"""The runner with named mechanisms taken out: `python weakened_runner.py NAME…`.

An attack that fails against the runner shows nothing until it has succeeded against this. Some
names only make a limit small enough for a test; they take nothing out.
"""

import ctypes
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import runner.__main__ as starter
from claude_run.wire import RunRequest
from runner import agent, app, disk, folders, launch, options, runs
from runner.agent import Limits
from runner.options import BrokerAccess, Defaults, Places
from runner.tools import tool_policy

if TYPE_CHECKING:
    from claude_agent_sdk import ClaudeAgentOptions

LAPTOP_UID = 30_000
SMALL_DISK, SMALL_DISK_FILES = 48 * 1024**2, 10_000
FEW_PROCESSES = 60
# A Python that any user can start, with the standard library alone: enough for the launcher.
SYSTEM_PYTHON = "/usr/bin/python3"

# Imported late, these could not be found any more: root's Python may be root's alone.
LATE = (
    "anyio._backends._asyncio",
    "claude_agent_sdk._internal.client",
    "claude_agent_sdk._internal.transport.subprocess_cli",
    "concurrent.futures.thread",
    "uvicorn.lifespan.off",
    "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.h11_impl",
    "uvicorn.protocols.websockets.auto",
)

_ENVIRON = dict(os.environ)


def _put(module: ModuleType, **replacements: object) -> None:
    for name, value in replacements.items():
        assert hasattr(module, name), f"{module.__name__} has no {name}: nothing is taken out"
        setattr(module, name, value)


def shared_user() -> None:
    """Every run has the runner's own user."""
    _put(starter, may_change_users=lambda: False)


def readable() -> None:
    """Other processes of the same user may read the runner's environment and memory."""
    _put(starter, prctl=lambda _option, _value: None)


def laptop() -> None:
    """Nothing taken out: the runner as an ordinary user, for tests that root runs."""
    if os.geteuid() != 0:
        return
    for name in LATE:
        importlib.import_module(name)
    sys.executable = SYSTEM_PYTHON
    os.setgroups([])
    os.setresgid(LAPTOP_UID, LAPTOP_UID, LAPTOP_UID)
    os.setresuid(LAPTOP_UID, LAPTOP_UID, LAPTOP_UID)
    # The kernel has just forbidden what an ordinary process allows.
    ctypes.CDLL(None).prctl(launch.PR_SET_DUMPABLE, 1, 0, 0, 0)


def inherited_environment() -> None:
    """The agent's environment begins with the runner's, as the SDK has it."""
    made = options.environment
    _put(options, environment=lambda **fields: _ENVIRON | made(**fields))


def obedient() -> None:
    """Whatever a repository configures holds."""
    sdk_options, environment = options.sdk_options, options.environment

    def careless(
        request: RunRequest, *, defaults: Defaults, places: Places, session_id: str
    ) -> "ClaudeAgentOptions":
        made = sdk_options(request, defaults=defaults, places=places, session_id=session_id)
        return replace(made, setting_sources=None, strict_mcp_config=False, verbatim_prompts=False)

    def open_environment(
        *, places: Places, broker: BrokerAccess, path: str, traceparent: str | None = None
    ) -> dict[str, str]:
        made = environment(places=places, broker=broker, path=path, traceparent=traceparent)
        for name in ("ATTACHMENTS", "CLAUDE_MDS"):
            del made[f"CLAUDE_CODE_DISABLE_{name}"]
        return made

    _put(options, sdk_options=careless, environment=open_environment)


def unnamed_tools() -> None:
    """MCP tools that `allowedTools` leaves out are refused by nobody."""
    _put(options, tool_policy=lambda **lists: replace(tool_policy(**lists), refused=None))


def small_disk() -> None:
    """Nothing taken out: a run may use 48 MiB and 10,000 files."""
    _put(disk, watch=partial(disk.watch, size=SMALL_DISK, files=SMALL_DISK_FILES))


def no_disk_watch() -> None:
    """Nobody looks how much disk a run uses."""

    async def nothing(*_: object, **__: object) -> None:
        return

    _put(disk, watch=nothing)


def few_processes() -> None:
    """Nothing taken out: a run may have 60 threads, of which Claude Code takes a third."""
    _put(runs, Limits=partial(Limits, processes=FEW_PROCESSES))


_CLEANING = '    kill_everything(spec["uid"], spec["gid"])\n    os._exit(status)'


def no_sweep() -> None:
    """The launcher leaves alone what outlives the agent."""
    _relaunch({_CLEANING: "    os._exit(status)"})


def stuck_launcher() -> None:
    """The launcher hangs before it has cleaned up."""
    _relaunch({_CLEANING: "    time.sleep(60)"})


def no_removal() -> None:
    """What a run leaves outside its folders stays."""
    _put(folders, owned_by=lambda _uid: iter(()))
    _relaunch({"            remove_objects(uid)": ""})


def local_callers() -> None:
    """Whoever can connect may call, the agent too."""
    _put(app, is_agent=lambda _client, _port: False)


def _relaunch(replacements: Mapping[str, str]) -> None:
    text = agent.LAUNCHER.read_text()
    for old, new in replacements.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    with tempfile.NamedTemporaryFile("w", suffix=".py", delete=False) as file:
        file.write(text)
    _put(agent, LAUNCHER=Path(file.name))


WEAKNESSES: Mapping[str, Callable[[], None]] = {
    weakness.__name__.replace("_", "-"): weakness
    for weakness in (
        shared_user, readable, laptop, inherited_environment, obedient, unnamed_tools,
        small_disk, no_disk_watch, few_processes, no_sweep, stuck_launcher, no_removal,
        local_callers,
    )
}  # fmt: skip


if __name__ == "__main__":
    for name in sys.argv[1:]:
        WEAKNESSES[name]()
    sys.exit(starter.main())
