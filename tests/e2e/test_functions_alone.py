"""`functions/` as Google builds it: copied elsewhere, with its requirements and nothing else."""

import json
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest

import servers
from claude_run.sse import Decoder
from deployed import token, variables
from only_requirements import environment_of
from servers import REPOSITORY

pytestmark = pytest.mark.e2e


def test_it_serves_a_session(runner: servers.Server, tmp_path: Path) -> None:
    """`api` with entry point and environment of a deployment; only what it reaches is here."""
    source = tmp_path / "elsewhere"
    shutil.copytree(
        REPOSITORY / "functions", source, ignore=shutil.ignore_patterns("__pycache__", "*.in")
    )
    python = environment_of(source / "requirements.txt", tmp_path / "env")
    for missing in ("gateway", "claude_run", "runner", "claude_agent_sdk", "pytest"):
        tried = [str(python), "-c", f"import {missing}"]
        assert subprocess.run(tried, capture_output=True, check=False).returncode
    deployed = variables("--function=api") | {
        "K_SERVICE": "claude-run-api",
        "RUNNER_URL": runner.url,
        "STORE_URL": f"sqlite://{tmp_path}/gateway.db",
        "VAULT_URL": f"file://{tmp_path}/vault",
        # For the line that names the port.
        "GUNICORN_LOG_LEVEL": "info",
    }
    assert (deployed["AUTH"], deployed["THREADS"]) == ("iam", "100")
    command = [str(python), "-m", "functions_framework", "--source", str(source / "main.py"),
               "--target", "api", "--host", "127.0.0.1", "--port", "0"]  # fmt: skip
    with servers.started(command, environ=deployed) as api:
        refused = httpx2.post(f"{api.url}/interactive/start", json={}, trust_env=False)
        well = httpx2.get(f"{api.url}/health", trust_env=False)
        assert (refused.status_code, well.status_code) == (401, 200)
        # By this the doctor tells our answers from IAM's.
        assert "X-Request-Id" in refused.headers
        assert "X-Request-Id" in well.headers
        with httpx2.stream(
            "POST",
            f"{api.url}/interactive/start",
            json={"prompt": servers.scenario(servers.say("Hello from elsewhere."))},
            headers={"Authorization": f"Bearer {token()}"},
            trust_env=False,
            timeout=120,
        ) as answer:
            decoder = Decoder()
            events = [event for chunk in answer.iter_bytes() for event in decoder.feed(chunk)]
    assert (events[0].event, events[-1].event) == ("connected", "complete")
    assert "Hello from elsewhere." in "".join(
        json.loads(event.data)["content"] for event in events if event.event == "claude_delta"
    )
