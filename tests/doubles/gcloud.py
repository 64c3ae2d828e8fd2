"""The real gcloud, loaded once: each command of it is a fork of a process that has it in memory.

`gcloud` takes most of a second of CPU to load itself, and a deployment is a hundred commands. What
runs is Google's own code, from its own entry point, with the arguments, environment, folder and
streams that it was called with.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers import REPOSITORY

START_SECONDS = 60.0
SERVER = Path(__file__).with_name("gcloud_server.py")
# `socket` and `os` would be a third of its work.
_SHIM = """\
#!{python} -SIE
import array, posix, sys
from _socket import AF_UNIX, SCM_RIGHTS, SOL_SOCKET, socket
server = socket(AF_UNIX)
server.connect({address!r})
words = [str(len(sys.argv) - 1), *sys.argv[1:]]
parts = [posix.getcwdb(), *(word.encode(errors="surrogateescape") for word in words)]
message = b"\\0".join(parts + [b"=".join(pair) for pair in posix.environ.items()])
streams = array.array("i", [0, 1, 2])
server.sendmsg([len(message).to_bytes(4, "big")], [(SOL_SOCKET, SCM_RIGHTS, streams)])
server.sendall(message)
status = server.recv(1)
sys.exit(status[0] if status else 137)
"""


@dataclass(frozen=True, slots=True)
class Gcloud:
    """A folder for PATH in which there is a `gcloud`."""

    folder: Path
    # Every argument that it was ever called with, one a line.
    arguments: Path

    def environ(self, home: Path) -> dict[str, str]:
        """What a program needs to find it, and to have a configuration of its own."""
        return {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "HOME": str(home),
            "CLOUDSDK_CONFIG": str(home / "gcloud"),
        }


def sdk_root() -> Path | None:
    """Where the Google Cloud SDK is; None without one."""
    found = shutil.which("gcloud")
    root = Path(found).resolve().parent.parent if found else None
    return root if root is not None and (root / "lib/gcloud.py").is_file() else None


def _python(root: Path) -> str:
    bundled = root / "platform/bundledpythonunix/bin/python3"
    return str(bundled) if bundled.is_file() else sys.executable


@contextmanager
def gcloud(root: Path, folder: Path) -> Iterator[Gcloud]:
    """Have it ready inside the block; `folder` is for its socket and its command."""
    address = str(folder / "socket")
    process = subprocess.Popen(
        [_python(root), "-S", str(SERVER), str(root), address, str(folder / "arguments")],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "CLOUDSDK_CONFIG": str(folder)},
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", "gcloud cannot be loaded"
        commands = folder / "bin"
        commands.mkdir()
        shim = commands / "gcloud"
        shim.write_text(_SHIM.format(python=sys.executable, address=address))
        shim.chmod(0o755)
        yield Gcloud(commands, folder / "arguments")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(START_SECONDS)
        process.stdout.close()  # type: ignore[union-attr]
