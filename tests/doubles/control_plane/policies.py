"""IAM policies, the same on everything that has one.

https://cloud.google.com/iam/docs/reference/rest/v1/Policy
"""

import re
from typing import Any

from doubles.control_plane.plane import ControlPlane, etag
from doubles.control_plane.routes import Refusal, check_fields, invalid

_MEMBER = re.compile(r"(user|serviceAccount|group|domain):[^@\s]+(@[^@\s]+)?")
PUBLIC = ("allUsers", "allAuthenticatedUsers")
_ROLE = re.compile(r"(projects/[^/]+/)?roles/[A-Za-z.]+")


def read(plane: ControlPlane, name: str) -> Any:  # noqa: ANN401 - JSON
    """The policy of something; one that was never set has no binding."""
    plane.thing(name)
    bindings = plane.policies.get(name, [])
    return {"version": _version(bindings), "etag": etag(bindings), "bindings": bindings}


def write(plane: ControlPlane, name: str, policy: Any) -> Any:  # noqa: ANN401 - JSON
    """Put a whole policy in the place of the old one; 409 where that has changed meanwhile."""
    plane.thing(name)
    check_fields(policy, ("bindings", "etag", "version", "auditConfigs"), "policy")
    if "etag" in policy and policy["etag"] != etag(plane.policies.get(name, [])):
        raise Refusal(409, "ABORTED", "There were concurrent policy changes.")
    bindings = policy.get("bindings", [])
    for binding in bindings:
        check_fields(binding, ("role", "members", "condition"), "policy.bindings")
        if not _ROLE.fullmatch(binding.get("role", "")):
            raise invalid(f"Role {binding.get('role')} is not supported for this resource.")
        if "condition" in binding and policy.get("version") != 3:
            raise invalid("Policies with conditions need version 3.")
        for member in binding["members"]:
            _check_member(plane, name, member)
    plane.policies[name] = [binding for binding in bindings if binding["members"]]
    return read(plane, name)


def _check_member(plane: ControlPlane, name: str, member: str) -> None:
    if member in PUBLIC:
        # Google refuses it on a whole project.
        if name.count("/") == 1:
            raise invalid(f"Members of type {member} may not be on a project.")
        return
    if member.startswith("deleted:"):
        return
    if not _MEMBER.fullmatch(member):
        raise invalid(f"Invalid member {member}.")
    kind, _, email = member.partition(":")
    ours = f"@{plane.project}.iam.gserviceaccount.com"
    is_there = f"projects/{plane.project}/serviceAccounts/{email}" in plane.things
    if kind == "serviceAccount" and email.endswith(ours) and not is_there:
        raise invalid(f"Service account {email} does not exist.")


def forget(plane: ControlPlane, email: str, uid: str) -> None:
    """What IAM makes of an account's bindings when it is deleted: they stay, under another name."""
    for bindings in plane.policies.values():
        for binding in bindings:
            binding["members"] = [
                f"deleted:serviceAccount:{email}?uid={uid}"
                if member == f"serviceAccount:{email}"
                else member
                for member in binding["members"]
            ]


def _version(bindings: list[Any]) -> int:
    return 3 if any("condition" in binding for binding in bindings) else 1
