"""What runs of this test process have left behind: folders, and processes of theirs.

Several test processes may work on one machine. What belongs to another one's servers is not ours
to complain about; an orphan, whose servers are gone, is.
"""

import os
from pathlib import Path

from runner.accounts import FIRST_UID, MAX_USERS

TMP = Path("/tmp")
PRIVATE = "claude-run-"
WORKSPACE = "ws-"
# What a run consists of, where it has no user of its own.
PROGRAMS = ("claude_agent_sdk/_bundled/claude", "runner/launch.py")


def left_behind() -> set[str]:
    """Paths, and `PID COMMAND` of processes."""
    return _folders() | {
        f"{pid} {command[:200]}"
        for pid in _processes()
        if _is_of_a_run(pid)
        and not _is_anothers(pid)
        # What another one's server has killed is nobody's for a moment, and has no command then.
        and ((command := _command(pid)) or os.getpid() in _ancestors(pid))
    }


def _folders() -> set[str]:
    # By the runner's number; what the command line makes for itself has another name.
    private = [path for path in TMP.glob(f"{PRIVATE}[0-9]*") if path.is_dir()]
    others = {path for path in private if _runner_is_anothers(path)}
    sessions = {_session_of(path) for path in others}
    workspaces = {
        path
        for path in TMP.glob(f"{WORKSPACE}*")
        if path.name.removeprefix(WORKSPACE) not in sessions
    }
    return {str(path) for path in {*private} - others | workspaces}


def _runner_is_anothers(private: Path) -> bool:
    pid = private.name.removeprefix(PRIVATE).partition("-")[0]
    return pid.isdigit() and Path(f"/proc/{pid}").exists() and _is_anothers(int(pid))


def _session_of(private: Path) -> str:
    return private.name.removeprefix(PRIVATE).partition("-")[2]


def _is_anothers(pid: int) -> bool:
    """Whether its nearest ancestor that is no part of a run lives, and is not below us."""
    ancestors = _ancestors(pid)
    if os.getpid() in ancestors:
        return False
    outside = next((parent for parent in ancestors if not _is_of_a_run(parent)), 1)
    return outside > 1


def _ancestors(pid: int) -> list[int]:
    found: list[int] = []
    while pid > 1 and (parent := _parent(pid)) is not None:
        found.append(parent)
        pid = parent
    return found


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[1])


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _is_of_a_run(pid: int) -> bool:
    try:
        uid = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return False
    return FIRST_UID <= uid < FIRST_UID + MAX_USERS or any(
        program in _command(pid) for program in PROGRAMS
    )


def _command(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace")
