"""Services and their revisions, as gcloud speaks of them: Knative's API.

https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services
"""

import copy
from typing import Any

from doubles.control_plane import run_templates
from doubles.control_plane.plane import ControlPlane, etag
from doubles.control_plane.routes import Call, Refusal, check_fields, invalid, policy_routes, route

SERVICES = "/apis/serving.knative.dev/v1/namespaces/{project}/services"
REVISIONS = "/apis/serving.knative.dev/v1/namespaces/{project}/revisions"
_FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")
_SPEC = (
    *("containerConcurrency", "timeoutSeconds", "serviceAccountName", "containers"),
    *("nodeSelector", "volumes", "runtimeClassName"),
)
_TIME = "2026-11-22T10:00:00.000000Z"
READY = "True"


def _region(plane: ControlPlane, call: Call) -> str:
    region = call.host.partition("-run.")[0]
    if region not in plane.regions:
        raise Refusal(404, "NOT_FOUND", f"Location {region} is not found.")
    return region


def _name(plane: ControlPlane, call: Call, service: str) -> str:
    return f"projects/{plane.project}/locations/{_region(plane, call)}/services/{service}"


@route("GET", "run", SERVICES, permission="run.services.list")
def listed(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """Those of a region."""
    prefix = f"projects/{project}/locations/{_region(plane, call)}/services"
    return {"apiVersion": "serving.knative.dev/v1", "kind": "ServiceList",
            "items": plane.below(prefix)}  # fmt: skip


@route("GET", "run", SERVICES + "/{service}", permission="run.services.get")
def describe(plane: ControlPlane, call: Call, project: str, service: str) -> Any:  # noqa: ANN401
    """One of them."""
    del project
    return plane.thing(_name(plane, call, service))


@route("POST", "run", SERVICES, permission="run.services.create")
def create(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """A new one, with its first revision."""
    del project
    service = call.field("metadata")["name"]
    name = _name(plane, call, service)
    _check(plane, call.body)
    made = plane.make(name, copy.deepcopy(call.body))
    made["metadata"] |= {"creationTimestamp": _TIME, "generation": 0}
    return _rolled_out(plane, name, made)


@route("PUT", "run", SERVICES + "/{service}", permission="run.services.update")
def replace(plane: ControlPlane, call: Call, project: str, service: str) -> Any:  # noqa: ANN401
    """Another specification; a new revision where the template is another one."""
    del project
    name = _name(plane, call, service)
    stored = plane.thing(name)
    if call.body["metadata"].get("resourceVersion") != stored["metadata"]["resourceVersion"]:
        raise Refusal(409, "ABORTED", f"Conflict for resource '{service}': version mismatch.")
    _check(plane, call.body)
    made = copy.deepcopy(call.body)
    made["metadata"] |= {
        "creationTimestamp": stored["metadata"]["creationTimestamp"],
        "generation": stored["metadata"]["generation"],
    }
    made["status"] = stored["status"]
    is_same = made["spec"]["template"] == stored["spec"]["template"]
    plane.things[name] = made
    return _rolled_out(plane, name, made, has_new_revision=not is_same)


@route("DELETE", "run", SERVICES + "/{service}", permission="run.services.delete")
def delete(plane: ControlPlane, call: Call, project: str, service: str) -> Any:  # noqa: ANN401
    """It and its revisions."""
    del project
    plane.remove(_name(plane, call, service))
    return {"kind": "Status", "status": "Success"}


@route("GET", "run", REVISIONS, permission="run.revisions.list")
def revisions(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """The revisions of one service."""
    del project
    service = call.query.get("labelSelector", "").rpartition("=")[2].strip()
    items = plane.below(f"{_name(plane, call, service)}/revisions")
    return {"apiVersion": "serving.knative.dev/v1", "kind": "RevisionList", "items": items}


@route("GET", "run", REVISIONS + "/{revision}", permission="run.revisions.get")
def revision(plane: ControlPlane, call: Call, project: str, revision: str) -> Any:  # noqa: ANN401
    """One of them."""
    region = _region(plane, call)
    for name, value in plane.things.items():
        if name.startswith(f"projects/{project}/locations/{region}/services/") and name.endswith(
            f"/revisions/{revision}"
        ):
            return value
    raise Refusal(404, "NOT_FOUND", f"Revision {revision} was not found.")


policy_routes(
    "run",
    "/v1/projects/{project}/locations/{region}/services/{service}",
    name="projects/{project}/locations/{region}/services/{service}",
    verb="run.services",
)


# --- what follows from a specification ------------------------------------------------------


def _check(plane: ControlPlane, body: Any) -> None:  # noqa: ANN401 - JSON
    check_fields(body, _FIELDS, "service")
    check_fields(body["spec"], ("template", "traffic"), "service.spec")
    template = body["spec"]["template"]
    spec = template["spec"]
    check_fields(spec, _SPEC, "service.spec.template.spec")
    run_templates.check(plane, spec)
    if not 1 <= spec.get("timeoutSeconds", 300) <= 3600:
        raise invalid("The request timeout must be between 1 and 3600 seconds.")
    concurrency = spec.get("containerConcurrency", 80)
    if concurrency > 1000 or (concurrency > 1 and run_templates.cpu_of(spec) < 1):
        raise invalid("Total cpu < 1 is not supported with concurrency > 1.")
    most = int(template["metadata"].get("annotations", {})["autoscaling.knative.dev/maxScale"])
    run_templates.check_quota(spec, most)
    throttled = template["metadata"].get("annotations", {}).get("run.googleapis.com/cpu-throttling")
    if str(throttled).lower() == "false" and run_templates.cpu_of(spec) < 1:
        raise invalid("Total cpu < 1 is not supported with CPU always allocated.")


def _rolled_out(
    plane: ControlPlane,
    name: str,
    made: Any,  # noqa: ANN401 - JSON
    *,
    has_new_revision: bool = True,
) -> Any:  # noqa: ANN401 - JSON
    """The service as Cloud Run tells it a moment later: revisions, traffic, conditions."""
    metadata = made["metadata"]
    metadata["generation"] += 1
    metadata.setdefault("uid", etag(name))
    service = metadata["name"]
    status = made.setdefault("status", {})
    if has_new_revision:
        number = len(plane.below(f"{name}/revisions")) + 1
        template = made["spec"]["template"]
        revision = template["metadata"].get("name") or f"{service}-{number:05}-{etag(number)[:3]}"
        image = template["spec"]["containers"][0]["image"]
        is_well = not any(part in image for part in plane.broken_images)
        plane.make(f"{name}/revisions/{revision}", _revision(made, revision, is_well=is_well))
        status["latestCreatedRevisionName"] = revision
        if is_well:
            status["latestReadyRevisionName"] = revision
    _route(plane, name, made)
    metadata["resourceVersion"] = etag([made["spec"], metadata["generation"]])
    return made


def _revision(made: Any, revision: str, *, is_well: bool) -> Any:  # noqa: ANN401 - JSON
    template = made["spec"]["template"]
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Revision",
        "metadata": {
            "name": revision,
            "namespace": made["metadata"].get("namespace", ""),
            "creationTimestamp": _TIME,
            "labels": {"serving.knative.dev/service": made["metadata"]["name"]},
            "annotations": template["metadata"].get("annotations", {}),
        },
        "spec": copy.deepcopy(template["spec"]),
        "status": {"conditions": [_condition("Ready", is_well=is_well)], "observedGeneration": 1},
    }


def _route(plane: ControlPlane, name: str, made: Any) -> None:  # noqa: ANN401 - JSON
    status, service = made["status"], made["metadata"]["name"]
    ready = status.get("latestReadyRevisionName", "")
    newest_is_well = status["latestCreatedRevisionName"] == ready
    region = name.split("/")[3]
    wanted = made["spec"].setdefault("traffic", [{"latestRevision": True, "percent": 100}])
    traffic = []
    for one in wanted:
        check_fields(one, ("latestRevision", "revisionName", "percent", "tag"), "traffic")
        target = ready if one.get("latestRevision") else one["revisionName"]
        if target and f"{name}/revisions/{target}" not in plane.things:
            raise Refusal(404, "NOT_FOUND", f"Revision '{target}' is not found.")
        told = {**one, "revisionName": target}
        if "tag" in one:
            told["url"] = f"http://{one['tag']}---{service}-{plane.number}.{region}.app.test"
        traffic.append(told)
    if sum(one.get("percent", 0) for one in wanted) != 100:
        raise invalid("The traffic does not sum up to 100 percent.")
    status["traffic"] = traffic
    status["url"] = f"http://{service}-{plane.number}.{region}.app.test"
    status["address"] = {"url": status["url"]}
    status["observedGeneration"] = made["metadata"]["generation"]
    status["conditions"] = [
        _condition("Ready", is_well=newest_is_well),
        _condition("ConfigurationsReady", is_well=newest_is_well),
        _condition("RoutesReady", is_well=True),
    ]


def _condition(kind: str, *, is_well: bool) -> dict[str, Any]:
    condition: dict[str, Any] = {
        "type": kind,
        "status": READY if is_well else "False",
        "lastTransitionTime": _TIME,
    }
    if not is_well:
        condition["reason"] = "HealthCheckContainerError"
        condition["message"] = (
            "The user-provided container failed to start and listen on the port defined provided "
            "by the PORT=8080 environment variable."
        )
    return condition


# --- as the network sees it -----------------------------------------------------------------


def find_by_host(plane: ControlPlane, host: str) -> tuple[str, str]:
    """The full name of the service that answers at an address, and the tag it is asked by."""
    for name, value in plane.things.items():
        status = value.get("status", {}) if isinstance(value, dict) else {}
        if not isinstance(status, dict) or "url" not in status:
            continue
        if status["url"] == f"http://{host}":
            return name, ""
        for one in status["traffic"]:
            if one.get("url") == f"http://{host}":
                return name, one["tag"]
    raise Refusal(404, "NOT_FOUND", "There is no such service.")


def is_public(plane: ControlPlane, name: str) -> bool:
    """Whether IAM lets everybody in, or is not asked."""
    annotations = plane.things[name]["metadata"]["annotations"]
    if annotations.get("run.googleapis.com/invoker-iam-disabled", "").lower() == "true":
        return True
    return any(
        binding["role"] == "roles/run.invoker" and "allUsers" in binding["members"]
        for binding in plane.policies.get(name, [])
    )
