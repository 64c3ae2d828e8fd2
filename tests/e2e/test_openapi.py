"""Inputs nobody thought of: Schemathesis asks whatever `/openapi.json` allows, and does not."""

import subprocess
import sys
from pathlib import Path

import pytest

import servers
from servers import running_gateway

pytestmark = pytest.mark.e2e

# Valid requests really run Claude Code; most of what is generated is not valid.
EXAMPLES = 4
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "negative_data_rejection",
)


@pytest.mark.timeout(400)
def test_the_description_is_kept(runner: servers.Server, tmp_path: Path) -> None:
    """No 5xx, no status and no body that is not described, in sequences of requests too."""
    with running_gateway(
        runner.url,
        tmp_path,
        MAX_CONCURRENT_SESSIONS="100",
        MAX_DAILY_TOKENS="1000000000",
        MAX_DAILY_COST_USD="100000",
    ) as server:
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")), "run"),
                f"{server.url}/openapi.json",
                *("--phases", "coverage,fuzzing,stateful"),
                *("--checks", ",".join(CHECKS)),
                *("--max-examples", str(EXAMPLES), "--seed", "1"),
                *("--request-timeout", "60", "--suppress-health-check", "all"),
                *("--generation-database", "none"),
            ],
            cwd=tmp_path,
            capture_output=True,
            timeout=380,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert '"severity": "ERROR"' not in server.log()
