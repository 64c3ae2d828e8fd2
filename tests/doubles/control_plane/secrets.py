"""Secrets and their versions (Secret Manager), over REST as gcloud asks."""

import base64
from typing import Any

from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import Call, Refusal, check_fields, invalid, policy_routes, route

SECRETS = "/v1/projects/{project}/secrets"
MAX_BYTES = 65_536


@route("GET", "secretmanager", SECRETS, permission="secretmanager.secrets.list")
def listed(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """All of them, without their values."""
    del call
    return {"secrets": plane.below(f"projects/{project}/secrets")}


@route("POST", "secretmanager", SECRETS, permission="secretmanager.secrets.create")
def create(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """A secret without a version."""
    check_fields(call.body, ("annotations", "labels", "replication"), "secret")
    if "automatic" not in call.field("replication"):
        raise invalid("The double knows automatic replication only.")
    name = f"projects/{project}/secrets/{call.query['secretId']}"
    return plane.make(name, {**call.body, "name": name})


@route("DELETE", "secretmanager", SECRETS + "/{secret}", permission="secretmanager.secrets.delete")
def delete(plane: ControlPlane, call: Call, project: str, secret: str) -> Any:  # noqa: ANN401
    """It and its versions."""
    del call
    plane.remove(f"projects/{project}/secrets/{secret}")
    return {}


@route(
    "POST",
    "secretmanager",
    SECRETS + "/{secret}:addVersion",
    permission="secretmanager.versions.add",
)
def add(plane: ControlPlane, call: Call, project: str, secret: str) -> Any:  # noqa: ANN401 - JSON
    """The newest version."""
    name = f"projects/{project}/secrets/{secret}"
    plane.thing(name)
    data = base64.b64decode(call.field("payload")["data"])
    if not 0 < len(data) <= MAX_BYTES:
        raise invalid("Secret Payload cannot be empty, or larger than 65536 bytes.")
    version = f"{name}/versions/{len(plane.below(f'{name}/versions')) + 1}"
    made = plane.make(version, {"name": version, "state": "ENABLED", "data": data.hex()})
    return _public(made) | {"clientSpecifiedPayloadChecksum": "dataCrc32c" in call.body["payload"]}


@route(
    "GET",
    "secretmanager",
    SECRETS + "/{secret}/versions",
    permission="secretmanager.versions.list",
)
def versions(plane: ControlPlane, call: Call, project: str, secret: str) -> Any:  # noqa: ANN401
    """All versions, newest first."""
    del call
    name = f"projects/{project}/secrets/{secret}"
    plane.thing(name)
    return {"versions": [_public(one) for one in reversed(plane.below(f"{name}/versions"))]}


@route(
    "GET",
    "secretmanager",
    SECRETS + "/{secret}/versions/{number}:access",
    permission="secretmanager.versions.access",
)
def access(plane: ControlPlane, call: Call, project: str, secret: str, number: str) -> Any:  # noqa: ANN401 - JSON
    """A version's value."""
    del call
    below = plane.below(f"projects/{project}/secrets/{secret}/versions")
    if number == "latest":
        number = str(len(below))
    found = [one for one in below if one["name"].endswith(f"/{number}")]
    if not found:
        raise Refusal(404, "NOT_FOUND", f"Secret [{secret}] not found or has no versions.")
    data = base64.b64encode(bytes.fromhex(found[0]["data"])).decode()
    return {"name": found[0]["name"], "payload": {"data": data}}


def _public(version: Any) -> Any:  # noqa: ANN401 - JSON
    return {"name": version["name"], "state": version["state"]}


policy_routes(
    "secretmanager",
    SECRETS + "/{secret}",
    name="projects/{project}/secrets/{secret}",
    verb="secretmanager.secrets",
)
