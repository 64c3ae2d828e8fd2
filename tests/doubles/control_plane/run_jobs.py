"""Jobs (Cloud Run), as gcloud speaks of them."""

import copy
from typing import Any

from doubles.control_plane import run_services, run_templates
from doubles.control_plane.plane import ControlPlane, etag
from doubles.control_plane.routes import Call, Refusal, check_fields, policy_routes, route

JOBS = "/apis/run.googleapis.com/v1/namespaces/{project}/jobs"
_TIME = "2026-11-22T10:00:00.000000Z"


def _prefix(plane: ControlPlane, call: Call) -> str:
    return f"projects/{plane.project}/locations/{run_services._region(plane, call)}/jobs"


@route("GET", "run", JOBS, permission="run.jobs.list")
def listed(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """Those of a region."""
    del project
    items = [job for job in plane.below(_prefix(plane, call)) if job.get("kind") == "Job"]
    return {"apiVersion": "run.googleapis.com/v1", "kind": "JobList", "items": items}


@route("GET", "run", JOBS + "/{job}", permission="run.jobs.get")
def describe(plane: ControlPlane, call: Call, project: str, job: str) -> Any:  # noqa: ANN401
    """One of them."""
    del project
    return plane.thing(f"{_prefix(plane, call)}/{job}")


@route("POST", "run", JOBS, permission="run.jobs.create")
def create(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """A new one."""
    del project
    name = f"{_prefix(plane, call)}/{call.field('metadata')['name']}"
    _check(plane, call.body)
    made = plane.make(name, copy.deepcopy(call.body))
    made["metadata"] |= {"creationTimestamp": _TIME, "generation": 0}
    return _told(made)


@route("PUT", "run", JOBS + "/{job}", permission="run.jobs.update")
def replace(plane: ControlPlane, call: Call, project: str, job: str) -> Any:  # noqa: ANN401
    """Another specification."""
    del project
    name = f"{_prefix(plane, call)}/{job}"
    stored = plane.thing(name)
    if call.body["metadata"].get("resourceVersion") != stored["metadata"]["resourceVersion"]:
        raise Refusal(409, "ABORTED", f"Conflict for resource '{job}': version mismatch.")
    _check(plane, call.body)
    made = copy.deepcopy(call.body)
    made["metadata"]["generation"] = stored["metadata"]["generation"]
    plane.things[name] = made
    return _told(made)


@route("DELETE", "run", JOBS + "/{job}", permission="run.jobs.delete")
def delete(plane: ControlPlane, call: Call, project: str, job: str) -> Any:  # noqa: ANN401 - JSON
    """It is gone."""
    del project
    plane.remove(f"{_prefix(plane, call)}/{job}")
    return {"kind": "Status", "status": "Success"}


policy_routes(
    "run",
    "/v1/projects/{project}/locations/{region}/jobs/{job}",
    name="projects/{project}/locations/{region}/jobs/{job}",
    verb="run.jobs",
)


def _check(plane: ControlPlane, body: Any) -> None:  # noqa: ANN401 - JSON
    check_fields(body, ("apiVersion", "kind", "metadata", "spec", "status"), "job")
    execution = body["spec"]["template"]["spec"]
    check_fields(execution, ("parallelism", "taskCount", "template"), "job.spec.template.spec")
    task = execution["template"]["spec"]
    known = (
        *("maxRetries", "timeoutSeconds", "serviceAccountName", "containers", "nodeSelector"),
        "volumes",
    )
    check_fields(task, known, "job.spec.template.spec.template.spec")
    run_templates.check(plane, task)
    if int(task.get("timeoutSeconds", 600)) > 168 * 3600:
        raise Refusal(400, "INVALID_ARGUMENT", "The task timeout is at most 168 hours.")


def _told(made: Any) -> Any:  # noqa: ANN401 - JSON
    metadata = made["metadata"]
    metadata["generation"] += 1
    metadata["resourceVersion"] = etag([made["spec"], metadata["generation"]])
    made["status"] = {
        "observedGeneration": metadata["generation"],
        "conditions": [run_services._condition("Ready", is_well=True)],
    }
    return made
