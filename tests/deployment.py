"""A deployment's state, looked at as its tables in `infra/` speak of it."""

import os
from pathlib import Path
from typing import Any

import pytest

from doubles.control_plane import ControlPlane
from doubles.gcloud import sdk_root
from servers import REPOSITORY

SERVICES = ("webhook", "setup", "api", "runner")


def require_sdk() -> Path:
    """Where the Google Cloud SDK is. CI has it; elsewhere its tests are skipped without it."""
    root = sdk_root()
    if root is None:
        reason = "there is no gcloud here: https://cloud.google.com/sdk/docs/install"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return root


def rows(table: str, columns: int) -> list[list[str]]:
    """The lines of a table; the last column takes the rest of a line."""
    lines = (REPOSITORY / "infra" / table).read_text("utf-8").splitlines()
    return [line.split(None, columns - 1) for line in lines if line and not line.startswith("#")]


GRANTS = rows("grants.txt", 4)


def account(plane: ControlPlane, name: str) -> str:
    """The e-mail address of an account of `accounts.txt`."""
    return f"claude-run-{name}@{plane.project}.iam.gserviceaccount.com"


def service(plane: ControlPlane, name: str) -> Any:  # noqa: ANN401 - JSON
    """A service as it stands."""
    return plane.things[plane.named(f"service/claude-run-{name}")]


def env_of(service: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    """Its environment."""
    [container] = service["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable["value"] for variable in container.get("env", [])}


def grants(plane: ControlPlane) -> set[tuple[str, str, str]]:
    """Everything that anybody is granted: member, role, and on what."""
    return {
        (member, binding["role"], _place(plane, name, binding))
        for name, bindings in plane.policies.items()
        for binding in bindings
        for member in binding["members"]
    }


def _place(plane: ControlPlane, name: str, binding: Any) -> str:  # noqa: ANN401 - JSON
    condition = binding.get("condition")
    if condition is None:
        return name
    database = plane.named("database")
    assert condition["expression"] == f'resource.name=="{database}"'
    return database
