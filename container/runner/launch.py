"""Starts Claude Code for one run and outlives it: `python -I -S launch.py SPEC CLI ARGUMENTS…`.

A small process between runner and agent, because three things can only be done from outside the
agent and below the runner: limits and a user set before the agent's first instruction, every
orphan the agent leaves behind adopted (so that none escapes by `setsid`), and all of them killed
when the agent ends, when the runner asks (SIGTERM) or when the runner dies (PR_SET_PDEATHSIG).

SPEC is one JSON object made by the runner, nothing of a caller's in it:
`parent` (the runner's process id), `uid` and `gid` (null: keep ours), `processes`, `open_files`,
`file_bytes` (limits), `grace` (seconds between SIGTERM and SIGKILL). Standard streams and
environment are the agent's.

With `uid` and `gid` alone, and no CLI, it only ends all that this user still has.

Exit status: the agent's, 128 + n when a signal n ended it, 70 when it could not be started.
It imports nothing of ours: with `-I -S` it is up in some 20 ms.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
# linux/ipc.h
IPC_RMID = 0

CANNOT_START = 70  # EX_SOFTWARE of sysexits.h
# A fork bomb within its limit is dead after a few sweeps; this many mean that we cannot win.
MAX_SWEEPS = 200
SWEEP_PAUSE = 0.01


def main(arguments: list[str]) -> NoReturn:
    """Run the command as SPEC says, clean up after it, exit as it did."""
    spec: dict[str, Any] = json.loads(arguments[0])
    command = arguments[1:]
    if not command:
        kill_everything(spec["uid"], spec["gid"])
        os._exit(0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != spec["parent"]:
        os._exit(CANNOT_START)  # the runner died before the line above took effect
    # Waiting by sigtimedwait and not by handlers: there is no moment at which a signal is lost.
    watched = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child == 0:
        become_agent(spec, command)
    # The agent must not find a second reader of its standard input or writer of its output.
    release_streams()
    status = supervise(child, watched, spec["grace"])
    kill_everything(spec["uid"], spec["gid"])
    os._exit(status)


def prctl(option: int, value: int) -> None:
    """prctl(2), where there is one; elsewhere the process group is all there is."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def become_agent(spec: dict[str, Any], command: list[str]) -> NoReturn:
    """In the child: user, limits, a clean signal state, and the agent itself."""
    try:
        # Its own group, so that signals sent to the agent's group never reach this supervisor.
        os.setpgid(0, 0)
        restrict(spec)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.execve(command[0], command, os.environ)  # noqa: S606 - no shell is the point
    except OSError as error:
        print(f"launch: {error}", file=sys.stderr, flush=True)  # noqa: T201 - it has no logger
    os._exit(CANNOT_START)


def restrict(spec: dict[str, Any]) -> None:
    """Limits first, since they may need the privilege that goes with the user."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, spec["file_bytes"])
    _limit(resource.RLIMIT_NOFILE, spec["open_files"])
    _limit(resource.RLIMIT_NPROC, spec["processes"])
    # POSIX message queues outlive everybody, and are seen nowhere unless they are mounted.
    if sys.platform == "linux":
        _limit(resource.RLIMIT_MSGQUEUE, 0)
    # When memory runs out the kernel shall take the agent, not the runner.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write("500")
    if spec["uid"] is not None:
        os.setgroups([])
        os.setresgid(spec["gid"], spec["gid"], spec["gid"])
        os.setresuid(spec["uid"], spec["uid"], spec["uid"])
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    # Changing the user clears this one, so it comes last: no supervisor, no agent.
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(0o077)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def release_streams() -> None:
    """Let go of the agent's standard streams, keeping stderr for our own last words."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


def supervise(child: int, watched: set[signal.Signals], grace: float) -> int:
    """Wait for the agent; when told to stop, give it `grace` seconds. Returns the exit status."""
    deadline: float | None = None
    while True:
        timeout = 3600.0 if deadline is None else max(0.0, deadline - time.monotonic())
        caught = signal.sigtimedwait(watched, timeout)
        status = reap(child)
        if status is not None:
            return status
        if caught is None and deadline is not None:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        elif caught is not None and caught.si_signo != signal.SIGCHLD and deadline is None:
            deadline = time.monotonic() + grace
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGTERM)


def reap(child: int) -> int | None:
    """Collect whatever has ended; the agent's exit status, if it is among them."""
    found: int | None = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                found = code if code >= 0 else 128 - code
    return found


def kill_everything(uid: int | None, gid: int | None) -> None:
    """Kill and collect all that the agent left: our descendants, and all of its own user."""
    if uid is not None and gid is not None:
        kill_user(uid, gid)
    for _ in range(MAX_SWEEPS):
        left = remaining(uid)
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reap(0)
        time.sleep(SWEEP_PAUSE)


def kill_user(uid: int, gid: int) -> None:
    """End all that a user has, as this user: its processes, and its System V objects.

    kill(2) with -1 takes them all in one step of the kernel, in which none can fork: a sweep by
    process ids can lose that race for as long as it lasts. Only the caller itself is spared.
    """
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            remove_objects(uid)
        finally:
            os._exit(0)
    with suppress(ChildProcessError):
        os.waitpid(child, 0)


def remove_objects(uid: int) -> None:
    """Shared memory, queues and semaphores, which no process's end removes (proc(5), sysvipc)."""
    libc = ctypes.CDLL(None)
    for kind, remove, command in (
        ("shm", libc.shmctl, (IPC_RMID, None)),
        ("msg", libc.msgctl, (IPC_RMID, None)),
        ("sem", libc.semctl, (0, IPC_RMID)),
    ):
        with suppress(OSError), open(f"/proc/sysvipc/{kind}") as table:  # noqa: PTH123
            names = table.readline().split()
            for line in table:
                values = [int(word) for word in line.split()]
                # The id is the second column; the owner's own is changed by whoever may.
                if uid in (values[names.index("uid")], values[names.index("cuid")]):
                    remove(values[1], *command)


def remaining(uid: int | None) -> list[int]:
    """Every descendant of this process and every process of `uid`, zombies of others aside."""
    parents: dict[int, int] = {}
    owned: set[int] = set()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:  # noqa: PTH112, PTH208
        if not name.isdigit():
            continue
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                # The name in parentheses may hold anything, also ") R 1".
                state, parent = file.read().rpartition(b")")[2].split()[:2]
            if state == b"Z" and int(parent) != os.getpid():
                continue
            parents[int(name)] = int(parent)
            if uid is not None and os.stat(f"/proc/{name}").st_uid == uid:  # noqa: PTH116
                owned.add(int(name))
    ours = {os.getpid()}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        grown = bool(more)
        ours |= more
    return sorted((ours - {os.getpid()}) | owned)


if __name__ == "__main__":
    main(sys.argv[1:])
