"""The `emulate` server: GitHub's API with a memory, as a process of its own.

`make test` installs it into `tests/emulate`, where node and npm are installed. Without them the
tests that need it are skipped, except in CI.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

FOLDER = Path(__file__).parent.parent / "emulate"
PROGRAM = FOLDER / "node_modules" / "emulate" / "dist" / "index.js"
START_SECONDS = 60.0
STOP_SECONDS = 10.0
# A free port may be taken by somebody else before it listens there.
ATTEMPTS = 3


def require_emulate() -> None:
    """Skip, or fail in CI, where it cannot be started."""
    if shutil.which("node") and PROGRAM.exists():
        return
    reason = "needs node and npm, and then: npm ci --prefix tests/emulate"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def running_emulate(seed: Mapping[str, Any], folder: Path, *, base_url: str) -> Iterator[int]:
    """Start it with `seed` in its memory and yield its port; links in its answers begin with
    `base_url`.
    """
    # Whoever answers on the port may be another's: only ours knows this user.
    probe = f"probe-{secrets.token_hex(8)}"
    github = {**seed["github"], "users": [*seed["github"]["users"], {"login": probe}]}
    config = folder / "emulate.yaml"
    config.write_text(yaml.safe_dump({**seed, "github": github}))
    process, port = _started(config, base_url, probe)
    try:
        yield port
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.wait()


def _started(config: Path, base_url: str, probe: str) -> tuple["subprocess.Popen[bytes]", int]:
    for _ in range(ATTEMPTS):
        port = _free_port()
        command = ["node", str(PROGRAM), "start", "--service", "github"]
        process = subprocess.Popen(
            [*command, "--port", str(port), "--seed", str(config), "--base-url", base_url],
            # Nothing of this machine's may choose another port or address for it.
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if _listens(process, f"http://127.0.0.1:{port}/users/{probe}"):
            return process, port
    raise AssertionError("emulate does not start")


def _listens(process: "subprocess.Popen[bytes]", url: str) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None:
        try:
            if httpx2.get(url, timeout=5, trust_env=False).status_code == 200:
                return True
        except httpx2.HTTPError:
            pass
        assert time.monotonic() < deadline, "emulate does not answer"
        time.sleep(0.02)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
