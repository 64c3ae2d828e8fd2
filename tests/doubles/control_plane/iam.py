"""Service accounts (IAM)."""

import re
from typing import Any

from doubles.control_plane import policies
from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import Call, check_fields, invalid, policy_routes, route

_ID = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")


@route(
    "GET", "iam", "/v1/projects/{project}/serviceAccounts", permission="iam.serviceAccounts.list"
)
def listed(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """All of them."""
    del call
    return {"accounts": plane.below(f"projects/{project}/serviceAccounts")}


@route(
    "POST", "iam", "/v1/projects/{project}/serviceAccounts", permission="iam.serviceAccounts.create"
)
def create(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """A new one."""
    account = call.field("accountId")
    if not _ID.fullmatch(account):
        raise invalid(f"The account ID {account} does not have a length between 6 and 30.")
    given = call.body.get("serviceAccount", {})
    check_fields(given, ("displayName", "description"), "service_account")
    email = f"{account}@{project}.iam.gserviceaccount.com"
    name = f"projects/{project}/serviceAccounts/{email}"
    uid = str(sum(map(ord, email)))
    return plane.make(name, {"name": name, "email": email, "uniqueId": uid, **given})


@route("GET", "iam", "/v1/projects/-/serviceAccounts/{email}", permission="iam.serviceAccounts.get")
def describe(plane: ControlPlane, call: Call, email: str) -> Any:  # noqa: ANN401 - JSON
    """One of them, by its address alone."""
    del call
    return plane.thing(f"projects/{plane.project}/serviceAccounts/{email}")


@route(
    "DELETE",
    "iam",
    "/v1/projects/-/serviceAccounts/{email}",
    permission="iam.serviceAccounts.delete",
)
def delete(plane: ControlPlane, call: Call, email: str) -> Any:  # noqa: ANN401 - JSON
    """It is gone; what it was granted stays behind."""
    del call
    name = f"projects/{plane.project}/serviceAccounts/{email}"
    uid = plane.thing(name)["uniqueId"]
    plane.remove(name)
    policies.forget(plane, email, uid)
    return {}


policy_routes(
    "iam",
    "/v1/projects/{project}/serviceAccounts/{email}",
    name="projects/{project}/serviceAccounts/{email}",
    verb="iam.serviceAccounts",
    get="POST",
)
