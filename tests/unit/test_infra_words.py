"""What is said of the errors that Google and gcloud have, and which of them are tried again.

The texts are theirs: of gcloud 528 itself, or as users of it have reported them; names are ours.
"""

import re
import subprocess
from pathlib import Path

import pytest

from servers import REPOSITORY

# Each text, and what is in the sentence that stands for it.
ERRORS = re.findall(
    r"^((?:(?!>>>).+\n|\n)+)^>>> (.+)$",
    (REPOSITORY / "tests/recorded/gcloud_errors.txt").read_text("utf-8").partition("\n\n")[2],
    re.MULTILINE,
)
ASKED_AGAIN = "Google does not know yet"


def explained(text: str, tmp_path: Path) -> str:
    """What a script says of it, in europe-west9, with ten runners at most."""
    file = tmp_path / "err"
    file.write_text(text)
    return in_bash(f"project=p region=europe-west9 max_instances=10; explained {file}")


def in_bash(commands: str) -> str:
    """What they print, with all of `infra/lib/` known to them."""
    sourced = "; ".join(
        f". {REPOSITORY}/infra/lib/{name}.sh" for name in ("words", "commands", "options")
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{sourced}; {commands}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(("text", "sentence"), ERRORS)
def test_an_error_in_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    """What is wrong, and what to do about it."""
    [line] = explained(text.strip(), tmp_path).splitlines()
    assert sentence in line


NOT_YET = [
    "Service account claude-run-api@p.iam.gserviceaccount.com does not exist.",
    "Permission 'iam.serviceaccounts.actAs' denied on service account a@p (or it may not exist).",
    "There were concurrent policy changes. Please retry the whole read-modify-write.",
    "Aborted due to cross-transaction contention.",
    "Please retry, underlying data changed.",
    (
        "Quota exceeded for quota metric 'Create or Delete index requests' and limit 'Create or "
        "Delete Index Requests Per Minute' of service 'firestore.googleapis.com'"
    ),
    "Google Cloud Run Service Agent does not have permission to get access tokens for a@p.",
    "a@p does not have storage.objects.get access to the Google Cloud Storage object.",
    (
        "Google Cloud Run Service Agent s@serverless-robot-prod must have permission to read the "
        "image. If you just enabled the Cloud Run API, the permissions might take a few minutes to "
        "propagate."
    ),
]


@pytest.mark.parametrize("text", NOT_YET)
def test_what_google_will_know_soon(text: str, tmp_path: Path) -> None:
    """It is asked again, and says so once."""
    assert tries(text, tmp_path) == (3, 1)


@pytest.mark.parametrize(
    "text",
    [
        "PERMISSION_DENIED: Permission 'run.services.create' denied on resource.",
        "Max instances must be set to 5 or fewer.",
    ],
)
def test_what_google_means(text: str, tmp_path: Path) -> None:
    """It is asked once."""
    assert tries(text, tmp_path) == (1, 0)


def tries(text: str, tmp_path: Path) -> tuple[int, int]:
    """How often a command is tried that is refused with it, and how often that is told."""
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\necho x >>{tmp_path}/tries\ncat {tmp_path}/text >&2\nexit 1\n")
    command.chmod(0o755)
    (tmp_path / "text").write_text(f"ERROR: (gcloud.x) {text}\n")
    said = in_bash(
        f"project=p region=r work={tmp_path} TRIES=3 PAUSE=0; (run {command}) 2>&1 || true"
    )
    return (tmp_path / "tries").read_text().count("x"), said.count(ASKED_AGAIN)
