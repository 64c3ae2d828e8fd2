"""What `infra/` holds as data is what the code needs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deployment import GRANTS, rows
from gateway.github.credentials import CLIENT_SECRET, PRIVATE_KEY, WEBHOOK_SECRET
from gateway.setup.claude_key import ANTHROPIC_KEY
from gateway.setup.setup_code import SETUP_CODE
from gateway.setup.states import STATE_KEY
from gateway.store.listing import listing
from servers import REPOSITORY


def test_firestore_is_told_what_the_code_declares() -> None:
    """Otherwise `make infra` has been forgotten."""
    assert (REPOSITORY / "infra/firestore.txt").read_text() == listing()


def test_the_secrets_are_those_of_the_vault() -> None:
    """By the names that the code has for them."""
    names = {name for name, _, _ in rows("secrets.txt", 3)}
    assert names == {
        ANTHROPIC_KEY,
        PRIVATE_KEY,
        WEBHOOK_SECRET,
        CLIENT_SECRET,
        SETUP_CODE,
        STATE_KEY,
    }


READ, WRITE = "secretmanager.secretAccessor", "secretmanager.secretVersionManager"
KEY, APP_KEY = "secret/anthropic-api-key", "secret/github-private-key"
USED = {
    "webhook": {
        ("datastore.user", "database"),
        (READ, "secret/github-webhook-secret"),
        ("run.invoker", "job/claude-run-worker"),
    },
    "setup": {
        ("datastore.user", "database"),
        (READ, "secret/setup-code"),
        *((role, "secret/state-key") for role in (READ, WRITE)),
        *((role, "secret/github-webhook-secret") for role in (READ, WRITE)),
        *((role, "secret/github-client-secret") for role in (READ, WRITE)),
        *((role, APP_KEY) for role in (READ, WRITE)),
        *((role, KEY) for role in (READ, WRITE)),
    },
    "api": {
        ("datastore.user", "database"),
        (READ, KEY),
        (READ, APP_KEY),
        ("run.invoker", "service/claude-run-runner"),
        ("run.viewer", "service/claude-run-runner"),
        ("run.invoker", "job/claude-run-worker"),
    },
    "worker": {
        ("datastore.user", "database"),
        (READ, KEY),
        (READ, APP_KEY),
        ("run.invoker", "service/claude-run-runner"),
    },
    "build": {
        ("storage.objectViewer", "bucket"),
        ("artifactregistry.writer", "repository"),
        ("logging.logWriter", "project"),
    },
    "scheduler": {("run.invoker", "service/claude-run-api")},
    "allUsers": {
        ("run.invoker", "service/claude-run-webhook"),
        ("run.invoker", "service/claude-run-setup"),
    },
}


def test_nobody_has_a_role_more_or_less() -> None:
    """Said a second time on purpose: a role more, or less, is thought about twice."""
    found: dict[str, set[tuple[str, str]]] = {}
    for name, role, on, _ in GRANTS:
        found.setdefault(name, set()).add((role.removeprefix("roles/"), on))
    assert found == USED


def test_every_grant_has_its_reason() -> None:
    """It is to an account of the table, on something of ours, once."""
    accounts = {name for name, _ in rows("accounts.txt", 2)} | {"allUsers"}
    assert {name for name, *_ in GRANTS} <= accounts - {"runner"}
    assert len({tuple(row[:3]) for row in GRANTS}) == len(GRANTS)
    secrets = {name for name, _, _ in rows("secrets.txt", 3)}
    for _, role, on, why in GRANTS:
        assert why
        assert on.partition("/")[2] in secrets or not on.startswith("secret/")
        # Nothing that reaches further than what it is on.
        assert role not in ("roles/owner", "roles/editor", "roles/viewer")
        assert not role.lower().endswith("admin")


def planned(*options: str) -> str:
    """The commands of a deployment, which nothing is asked for."""
    deploy = REPOSITORY / "infra/deploy.sh"
    command = [str(deploy), "--dry-run", "--project", "p", "--region", "us-central1", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_another_image_is_another_runner() -> None:
    """By the label that a deployment is compared with: what is the same is not deployed again."""

    def label(*options: str) -> str:
        found = re.search(r"run deploy claude-run-runner .*deployed=([0-9a-f]+)", planned(*options))
        assert found is not None
        return found[1]

    labels = [label(), label("--image", "r/one"), label("--image", "r/two")]
    assert len(set(labels)) == 3
    assert label("--image", "r/two") == labels[2]


@pytest.mark.skipif(shutil.which("shasum") is None, reason="there is no shasum")
def test_the_digest_of_a_source_is_the_same_without_gnu_tools(tmp_path: Path) -> None:
    """Else whoever deploys from a Mac would deploy again all that came from elsewhere."""
    for tool in ("bash", "cat", "cut", "find", "perl", "shasum", "sort", "tr", "xargs", "dirname"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or pytest.fail(tool))
    text = f"root={REPOSITORY} project=p; . $root/infra/lib/names.sh; tree_digest infra"

    def digest(path: str) -> str:
        command = ["bash", "-euc", text]
        return subprocess.run(
            command, env={"PATH": path}, capture_output=True, text=True, check=True
        ).stdout

    assert digest(str(tmp_path)) == digest(os.environ["PATH"]) != ""


@pytest.mark.parametrize("script", ["deploy", "destroy", "doctor"])
@pytest.mark.parametrize(
    ("missing", "advice"), [("gcloud", "sdk/docs/install"), ("curl", "packages")]
)
def test_what_is_not_installed_is_named(
    script: str, missing: str, advice: str, tmp_path: Path
) -> None:
    """Before anything is asked; each with where it comes from."""
    for tool in (
        *("bash", "awk", "cat", "cut", "dirname", "env", "grep", "head", "mktemp"),
        *("od", "rm", "sed", "sha256sum", "sort", "tail", "tr"),
    ):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    for tool in {"gcloud", "curl"} - {missing}:
        # Nothing of it is called.
        (tmp_path / tool).write_text("#!/bin/sh\nexit 99\n")
        (tmp_path / tool).chmod(0o755)
    done = subprocess.run(
        [str(REPOSITORY / f"infra/{script}.sh"), "--project", "p", "--region", "us-central1",
         *(["--operators", "ann@example.com"] if script == "deploy" else [])],
        env={"PATH": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert f"{missing} is not installed" in line
    assert advice in line
