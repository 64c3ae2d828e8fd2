"""`make dev-github`: what it prints works."""

import os
import socket
import subprocess
import sys

import pytest

import servers
from doubles.emulate import require_emulate
from issue_service import until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("issues")]


def asked(command: str) -> str:
    """What a printed command prints."""
    shell = ["bash", "-euo", "pipefail", "-c", command]
    return subprocess.run(shell, capture_output=True, text=True, timeout=60, check=True).stdout


def test_an_issue_opened_by_the_printed_command_becomes_a_pull_request() -> None:
    """With one command here, and one copied from what that says."""
    require_emulate()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "tests/dev_github.py"]
    environ = {"PORT": str(port), "PYTHONPATH": str(servers.REPOSITORY / "tests"), "HOME": "/tmp"}
    kept = {name: os.environ[name] for name in ("SSL_CERT_FILE",) if name in os.environ}
    with servers.started(command, environ=environ | kept, ready="  gateway http://") as server:
        until(lambda: "Ctrl-C ends everything" in server.log(), server.log)
        lines = server.log().splitlines()
        opening, comments, pulls = (line for line in lines if line.startswith("  curl -s "))
        asked(opening)
        until(lambda: "Claude opened a pull request" in asked(comments), server.log)
        assert asked(pulls).startswith("Fixes #1\n\n")
        assert server.stop() == 0
