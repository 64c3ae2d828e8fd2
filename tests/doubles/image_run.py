"""An image, started as a container engine would: its own root, mounts and processes.

buildah's `run` shares the processes of this machine, and in a chroot the kernel makes no user
namespaces, which bubblewrap needs. So the root is entered as an engine does it, by pivot_root. The
network is this machine's: the scripted model listens on its loopback.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import servers
from runner.accounts import LOCKS

STOP_SECONDS = 10.0  # what Cloud Run gives after SIGTERM
_COMMAND_SECONDS = 30.0

# /mnt is empty in every Debian; the old root is there for one moment. User numbers are not the
# container's own, so the locks on them must not be either: a runner out here would take one that is
# lent inside, and kill what belongs to it.
_ENTER = f"""
root=$1; shift
mount --rbind "$root" "$root"; cd "$root"
mount --rbind /dev dev; mount -t tmpfs tmpfs dev/shm; mount -t proc proc proc
mkdir -p -m 0700 {LOCKS} .{LOCKS}; mount --bind {LOCKS} .{LOCKS}
pivot_root . mnt; cd /; umount -l /mnt
exec "$@"
"""
_NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--propagation=private")


@dataclass(frozen=True, slots=True)
class Started:
    """A container of the image, running."""

    server: servers.Server
    init: int
    """Process 1, by the number that it has out here."""
    config: Mapping[str, Any]

    @property
    def url(self) -> str:
        """The runner's address."""
        return self.server.url

    def processes(self) -> dict[int, str]:
        """Number (out here) and state of every process inside, zombies with the letter Z."""
        namespace = (Path("/proc") / str(self.init) / "ns/pid").readlink()
        found: dict[int, str] = {}
        for process in Path("/proc").iterdir():
            try:
                if process.name.isdigit() and (process / "ns/pid").readlink() == namespace:
                    stat = (process / "stat").read_text()
                    found[int(process.name)] = stat.rpartition(")")[2].split()[0]
            except OSError:
                continue
        return found

    def check_health(self, port: str) -> int:
        """Run the image's health check inside, for this port. Returns its exit status."""
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        enter = ["nsenter", f"--target={self.init}", "--mount", "--pid", "--root", "--wd"]
        return subprocess.run(
            [*enter, *_environment(self.config, {"PORT": port}), *command],
            capture_output=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        ).returncode

    def stop(self) -> float:
        """SIGTERM to process 1. Returns the seconds until the container had ended."""
        begun = time.monotonic()
        if self.server.process.poll() is None:
            os.kill(self.init, signal.SIGTERM)
        self.server.process.wait(STOP_SECONDS)
        return time.monotonic() - begun


def command_line(root: Path, config: Mapping[str, Any], environ: Mapping[str, str]) -> list[str]:
    """What starts the image's entry point in `root`, with its environment and these additions."""
    enter = ["unshare", *_NAMESPACES, "sh", "-euc", _ENTER, "sh", str(root)]
    start = [*config["Entrypoint"], *(config["Cmd"] or [])]
    return [*enter, *_environment(config, environ), *start]


def _environment(config: Mapping[str, Any], more: Mapping[str, str]) -> list[str]:
    return ["env", "-i", *config["Env"], *(f"{name}={value}" for name, value in more.items())]


@contextmanager
def started(root: Path, config: Mapping[str, Any], **environ: str) -> Iterator[Started]:
    """Start the image's entry point and wait for its address; end it afterwards."""
    with servers.started(command_line(root, config, environ), environ={}) as server:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        running = Started(server, int(children.read_text()), config)
        try:
            yield running
        finally:
            running.stop()
