"""Google's Firestore emulator, started for tests and ended with all that it started."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

START_SECONDS = 60.0
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Emulator:
    """Where it listens: `127.0.0.1:PORT`, as FIRESTORE_EMULATOR_HOST has it."""

    host: str


def why_missing() -> str | None:
    """What is not installed here, or None."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return "gcloud is not installed"
    root = Path(gcloud).resolve().parent.parent
    # A package's launcher leads here by another way.
    roots = (root, Path("/usr/lib/google-cloud-sdk"))
    if not any((one / "platform" / "cloud-firestore-emulator").is_dir() for one in roots):
        return "gcloud's cloud-firestore-emulator is not installed"
    if shutil.which("java") is None:
        return "the Firestore emulator needs Java"
    return None


@contextmanager
def firestore_emulator() -> Iterator[Emulator]:
    """An emulator on a free port. Not installed: the test is skipped, in CI it fails."""
    missing = why_missing()
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    host = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            ["gcloud", "emulators", "firestore", "start", f"--host-port={host}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # gcloud starts a shell that starts Java: one group, to be ended as one.
            start_new_session=True,
        )
        try:
            _wait_until_ready(host, process)
            yield Emulator(host)
        except TimeoutError:
            log.seek(0)
            raise AssertionError(log.read().decode("utf-8", "replace")) from None
        finally:
            _end(process)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(host: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{host}/", timeout=2):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise TimeoutError


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(STOP_SECONDS)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)
