"""The project, its billing, and its policy (Resource Manager, Cloud Billing)."""

from typing import Any

from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import Call, policy_routes, route


@route(
    "GET",
    "cloudresourcemanager",
    "/v1/projects/{project}",
    permission="resourcemanager.projects.get",
)
def describe(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """The project."""
    del call, project
    plane.things.setdefault(f"projects/{plane.project}", {})
    return {
        "projectId": plane.project,
        "projectNumber": plane.number,
        "name": plane.project,
        "lifecycleState": "ACTIVE",
    }


@route(
    "GET",
    "cloudbilling",
    "/v1/projects/{project}/billingInfo",
    permission="resourcemanager.projects.get",
)
def billing(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """Whether somebody pays."""
    del call, project
    return {
        "projectId": plane.project,
        "billingEnabled": plane.billing,
        "billingAccountName": "billingAccounts/0" if plane.billing else "",
    }


policy_routes(
    "cloudresourcemanager",
    "/v1/projects/{project}",
    name="projects/{project}",
    verb="resourcemanager.projects",
    get="POST",
)
