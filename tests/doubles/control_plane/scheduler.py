"""Scheduled calls (Cloud Scheduler)."""

from typing import Any

from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import Call, check_fields, invalid, route

JOBS = "/v1/projects/{project}/locations/{region}/jobs"
_NAME = "projects/{project}/locations/{region}/jobs/{job}"
_KNOWN = (
    *("name", "description", "schedule", "timeZone", "httpTarget", "retryConfig"),
    *("attemptDeadline", "state"),
)


@route("GET", "cloudscheduler", JOBS, permission="cloudscheduler.jobs.list")
def listed(plane: ControlPlane, call: Call, project: str, region: str) -> Any:  # noqa: ANN401
    """Those of a region."""
    del call
    return {
        "jobs": [
            value
            for value in plane.below(f"projects/{project}/locations/{region}/jobs")
            if "schedule" in value
        ]
    }


@route("POST", "cloudscheduler", JOBS, permission="cloudscheduler.jobs.create")
def create(plane: ControlPlane, call: Call, project: str, region: str) -> Any:  # noqa: ANN401
    """A new one; its account must be there."""
    del project, region
    return plane.make(call.field("name"), _checked(plane, call) | {"state": "ENABLED"})


@route("GET", "cloudscheduler", JOBS + "/{job}", permission="cloudscheduler.jobs.get")
def describe(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """One of them."""
    del call
    return plane.thing(_NAME.format(**names))


@route("PATCH", "cloudscheduler", JOBS + "/{job}", permission="cloudscheduler.jobs.update")
def update(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """Other values."""
    found: dict[str, Any] = plane.thing(_NAME.format(**names))
    found.update(_checked(plane, call))
    return found


@route("DELETE", "cloudscheduler", JOBS + "/{job}", permission="cloudscheduler.jobs.delete")
def delete(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """It is gone."""
    del call
    plane.remove(_NAME.format(**names))
    return {}


def _checked(plane: ControlPlane, call: Call) -> dict[str, Any]:
    check_fields(call.body, _KNOWN, "job")
    token = call.field("httpTarget").get("oidcToken", {})
    email = token.get("serviceAccountEmail", "")
    if email and f"projects/{plane.project}/serviceAccounts/{email}" not in plane.things:
        raise invalid(f"The service account {email} does not exist.")
    return dict(call.body)
