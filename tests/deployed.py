"""What a deployment tells its parts, and what is left of a caller's token in front of them."""

import json
import subprocess
from base64 import urlsafe_b64encode

from servers import REPOSITORY

PROJECT = "project-1"
REGION = "us-east1"


def variables(command: str) -> dict[str, str]:
    """The environment that deploy.sh gives a part: on its one line that has these words."""
    shown = subprocess.run(
        [REPOSITORY / "infra/deploy.sh", "--dry-run", "--project", PROJECT, "--region", REGION,
         "--operators", "ann@example.com"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout  # fmt: skip
    [line] = [line for line in shown.splitlines() if f"{command} " in line]
    told = line.partition("--set-env-vars=^|^")[2].partition("'")[0]
    return dict(variable.split("=", 1) for variable in told.split("|"))


def token(email: str = "ann@example.com") -> str:
    """What is left of a caller's token behind IAM."""
    claims = {"sub": f"of-{email}", "email": email, "email_verified": True}
    head, body = (
        urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "RS256"}, claims)
    )
    return f"{head}.{body}.SIGNATURE_REMOVED_BY_GOOGLE"
