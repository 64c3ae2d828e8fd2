"""How git is started: with an environment made from nothing, bounded, and never left behind."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runner.cancellation import to_the_end

# A command that only touches the local disk; a network command brings its own limit.
LOCAL_SECONDS = 120.0
MAX_OUTPUT_BYTES = 1 << 20
MAX_STDERR_BYTES = 16 << 10
_CHUNK = 64 << 10
# What SIGKILL has hit is gone at once, except from a file system that hangs.
_KILL_SECONDS = 5.0
# Progress is cut at carriage returns; a longer piece is no progress line.
_MAX_LINE = 4096

# No file of that name can ever come to be, neither below it: /dev/null is no directory.
_NOWHERE = "/dev/null"

# What a company's network needs to be crossed at all; none of it can redirect a TLS connection.
_NETWORK_NAMES = (
    "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
)  # fmt: skip

_ENVIRONMENT: Mapping[str, str] = {
    "LC_ALL": "C",
    "HOME": _NOWHERE,  # also where curl looks for .netrc, and git for attributes and ignores
    "XDG_CONFIG_HOME": _NOWHERE,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": _NOWHERE,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",  # set and empty: git looks for no other program
    "GIT_SSH_COMMAND": "false",
    "GIT_EDITOR": "false",
    "GIT_PAGER": "cat",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_PROTOCOL_FROM_USER": "0",
}

# Given in the environment, these outrank every file.
_CONFIG: Mapping[str, str] = {
    "core.hooksPath": _NOWHERE,
    "core.fsmonitor": "false",
    "core.attributesFile": _NOWHERE,
    "core.excludesFile": _NOWHERE,
    "core.autocrlf": "false",
    "core.symlinks": "true",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "gc.auto": "0",  # no daemon is left behind
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "transfer.bundleURI": "false",
    "protocol.allow": "never",
    "advice.detachedHead": "false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a git command that talks to a server may do, and what it is told.

    `origin` is the one scheme, host and port. `credential` is what git's credential protocol
    wants to read; git gets it through a socket that can be read once, and asks for it only on
    behalf of `origin`. `max_file_bytes` bounds every file it writes, a pack above all.
    """

    origin: str
    credential: bytes | None
    max_file_bytes: int

    @property
    def config(self) -> dict[str, str]:
        """The configuration that opens this one way out."""
        scheme = self.origin.partition(":")[0]
        config = {
            f"protocol.{scheme}.allow": "always",
            # A redirect is the server's word about where the token should go.
            "http.followRedirects": "false",
            "http.lowSpeedLimit": "1",
            "http.lowSpeedTime": "60",
            "transfer.fsckObjects": "true",
            **_HARMLESS,
        }
        if self.credential is not None:
            # Neither argument nor environment nor file: both name a descriptor, not the token.
            # A scoped helper is git's own rule that no other host is answered.
            helper = '!f() { test "$1" = get && cat <&9; }; f'
            config[f"credential.{self.origin}.helper"] = helper
        return config


# Faults of identities and dates that old, honest repositories have at their tips too.
_HARMLESS: Mapping[str, str] = {
    f"fetch.fsck.{fault}": "ignore"
    for fault in (
        "zeroPaddedFilemode", "badTimezone", "badDate", "badDateOverflow", "zeroPaddedDate",
        "missingSpaceBeforeDate", "missingEmail", "badEmail", "missingNameBeforeEmail", "badName",
        "missingSpaceBeforeEmail", "missingTaggerEntry", "badTagName", "gitmodulesParse",
    )
}  # fmt: skip

# dash knows one-digit descriptors only. The block of ulimit -f has 512 bytes (POSIX). With the
# signal ignored a write past it fails as "File too large", and git says so.
_LAUNCHER = 'trap "" XFSZ; ulimit -f "$0"; exec git "$@" 9<&0 </dev/null'


@dataclass(frozen=True, slots=True, kw_only=True)
class GitResult:
    """How a git command ended; `stderr` is its end, at most `MAX_STDERR_BYTES`."""

    status: int
    stdout: bytes
    stderr: str


class GitError(Exception):
    """A git command did not do what it was started for."""


class GitFailedError(GitError):
    """It said no. `stderr` may hold what a server sent: classify it, do not show it."""

    def __init__(self, result: GitResult) -> None:
        super().__init__(f"git ended with status {result.status}")
        self.result = result


class GitTimeoutError(GitError):
    """It took too long and was killed."""


class GitOutputError(GitError):
    """It printed more than was asked for and was killed."""


def environment(
    environ: Mapping[str, str], *, config: Mapping[str, str], network: Network | None
) -> dict[str, str]:
    """The whole environment of a git process; of `environ` only PATH and the way out are kept."""
    settings = {**_CONFIG, **config, **(network.config if network else {})}
    result = {**_ENVIRONMENT, "PATH": environ.get("PATH", os.defpath)}
    if network is not None:
        result |= {name: environ[name] for name in _NETWORK_NAMES if name in environ}
    result["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (name, value) in enumerate(settings.items()):
        result[f"GIT_CONFIG_KEY_{number}"] = name
        result[f"GIT_CONFIG_VALUE_{number}"] = value
    return result


async def run_git(
    args: Sequence[str],
    *,
    git_dir: Path | None = None,
    work_tree: Path | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
    network: Network | None = None,
    config: Mapping[str, str] | None = None,
    time_limit: float = LOCAL_SECONDS,
    max_output: int = MAX_OUTPUT_BYTES,
    accept: Sequence[int] = (0,),
    on_line: Callable[[str], None] | None = None,
) -> GitResult:
    """Run `git ARGS` to its end and return what it printed; raise `GitError` otherwise.

    It is a session and process group of its own, killed whole and awaited when the time is up or
    the caller is cancelled. Without `git_dir` it starts in `/`, where no repository is found.
    `on_line` gets each line of stderr as it comes, carriage returns ending lines too.
    """
    env = environment(os.environ, config=config or {}, network=network)
    if git_dir is not None:
        env["GIT_DIR"] = str(git_dir)
    if work_tree is not None:
        env["GIT_WORK_TREE"] = str(work_tree)
    process = await _start(_command(args, network), env=env, cwd=cwd or Path("/"))
    try:
        async with asyncio.timeout(time_limit):
            result = await _communicate(
                process,
                stdin=stdin if network is None else network.credential or b"",
                max_output=max_output,
                on_line=on_line,
            )
    except BaseException as error:
        # Also when git itself has ended: something of its group may hold the pipes.
        await _kill(process)
        if isinstance(error, TimeoutError):
            raise GitTimeoutError(f"git {args[0]} took longer than {time_limit:g} s") from None
        raise
    if result.status not in accept:
        raise GitFailedError(result)
    return result


def _command(args: Sequence[str], network: Network | None) -> list[str]:
    if network is None:
        return ["git", *args]
    return ["/bin/sh", "-c", _LAUNCHER, str(network.max_file_bytes // 512), *args]


async def _start(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path
) -> asyncio.subprocess.Process:
    """Start `command` in a group of its own; cancelled meanwhile, the whole group is ended.

    asyncio alone, cancelled before it has connected the pipes, kills the child and not what the
    child has started by then, and waits for as long as that holds the pipes.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    )
    try:
        return await to_the_end(starting)
    except asyncio.CancelledError:
        if starting.exception() is None:
            await _kill(starting.result())
        raise


async def _communicate(
    process: asyncio.subprocess.Process,
    *,
    stdin: bytes,
    max_output: int,
    on_line: Callable[[str], None] | None,
) -> GitResult:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    assert process.stderr is not None  # noqa: S101
    # A task group waits for its tasks when it is cancelled: nobody reads a stream after it.
    async with asyncio.TaskGroup() as group:
        group.create_task(_feed(process, stdin))
        stdout = group.create_task(_read_output(process.stdout, max_output, process))
        stderr = group.create_task(_read_lines(process.stderr, on_line))
        status = group.create_task(process.wait())
    if len(stdout.result()) > max_output:
        raise GitOutputError(f"git printed more than {max_output} bytes")
    return GitResult(status=status.result(), stdout=stdout.result(), stderr=stderr.result())


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None  # noqa: S101
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
    # Not waited for: cancelled, `wait_closed` spoils the future that asyncio wants to end.
    process.stdin.close()


async def _read_output(
    stream: asyncio.StreamReader, limit: int, process: asyncio.subprocess.Process
) -> bytes:
    """Read to the end; past the limit kill the group and return one chunk too much."""
    data = bytearray()
    while chunk := await stream.read(_CHUNK):
        if len(data) > limit:
            continue  # dying: what is still in the pipe is thrown away
        data += chunk
        if len(data) > limit:
            _signal_group(process)
    return bytes(data)


async def _read_lines(stream: asyncio.StreamReader, on_line: Callable[[str], None] | None) -> str:
    tail = bytearray()
    line = b""
    while chunk := await stream.read(_CHUNK):
        tail += chunk
        del tail[:-MAX_STDERR_BYTES]
        if on_line is None:
            continue
        *lines, line = (line + chunk).replace(b"\r", b"\n").split(b"\n")
        line = line[-_MAX_LINE:]
        for text in lines:
            on_line(text[:_MAX_LINE].decode("utf-8", "replace"))
    return tail.decode("utf-8", "replace")


def _signal_group(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the group, and read its pipes to the end so that the event loop lets go of them."""
    _signal_group(process)
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    with suppress(TimeoutError):
        async with asyncio.timeout(_KILL_SECONDS):
            for stream in (process.stdout, process.stderr):
                while await stream.read(_CHUNK):
                    pass
            await process.wait()
