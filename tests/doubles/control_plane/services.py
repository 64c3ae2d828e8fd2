"""Which APIs are on (Service Usage)."""

from typing import Any

from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import Call, Refusal, route


@route("GET", "serviceusage", "/v1/projects/{project}/services", permission="serviceusage.list")
def listed(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """Those that are on."""
    del call
    return {"services": [_service(project, name) for name in sorted(plane.enabled)]}


@route(
    "GET",
    "serviceusage",
    "/v1/projects/{project}/services/{name}",
    permission="serviceusage.services.get",
)
def one(plane: ControlPlane, call: Call, project: str, name: str) -> Any:  # noqa: ANN401 - JSON
    """One of them, on or off."""
    del call
    state = "ENABLED" if name in plane.enabled else "DISABLED"
    return _service(project, name) | {"state": state}


@route(
    "POST",
    "serviceusage",
    "/v1/projects/{project}/services:batchEnable",
    permission="serviceusage.services.enable",
)
def enable(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """Turn them on; without billing Google does not."""
    del project
    if not plane.billing:
        raise Refusal(
            400,
            "FAILED_PRECONDITION",
            f"Billing account for project '{plane.number}' is not found. Billing must be enabled "
            "for activation of service(s) to proceed.",
        )
    plane.things["enabled"] = sorted(plane.enabled | set(call.field("serviceIds")))
    return {"name": "operations/acat.enable", "done": True, "response": {}}


@route(
    "POST",
    "serviceusage",
    "/v1/projects/{project}/services/{name}:enable",
    permission="serviceusage.services.enable",
)
def enable_one(plane: ControlPlane, call: Call, project: str, name: str) -> Any:  # noqa: ANN401
    """The same for a single one."""
    wanted = Call(method="POST", api=call.api, path="", body={"serviceIds": [name]})
    return enable(plane, wanted, project)


def _service(project: str, name: str) -> dict[str, Any]:
    return {
        "name": f"projects/{project}/services/{name}",
        "config": {"name": name},
        "state": "ENABLED",
    }
