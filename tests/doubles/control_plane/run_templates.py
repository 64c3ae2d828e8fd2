"""What a service's revision or a job's task may be: the rules that Cloud Run checks first."""

import re
from decimal import Decimal
from typing import Any

from doubles.control_plane import registry
from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import check_fields, invalid

_CONTAINER = (
    *("image", "name", "command", "args", "env", "resources", "ports", "startupProbe"),
    *("livenessProbe", "volumeMounts"),
)
_RESERVED = ("PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "CLOUD_RUN_JOB")
_MEMORY = re.compile(r"([0-9]+)(Mi|Gi)")
# The least CPU for this much memory: https://cloud.google.com/run/docs/configuring/services/cpu
_CPU_FOR_GIB = ((24, 8), (16, 6), (8, 4), (4, 2))
# What a new project may have in a region, in thousandths of a CPU and in MiB.
_QUOTA_CPU, _QUOTA_MEMORY = 20_000, 40 * 1024


def check(plane: ControlPlane, spec: Any) -> None:  # noqa: ANN401 - JSON
    """400 for a container or an account that cannot be."""
    email = spec.get("serviceAccountName", "")
    if f"projects/{plane.project}/serviceAccounts/{email}" not in plane.things:
        raise invalid(f"Service account {email} does not exist.")
    containers = spec.get("containers", [])
    if len(containers) != 1:
        raise invalid("The double runs one container.")
    check_fields(containers[0], _CONTAINER, "spec.template.spec.containers[0]")
    registry.check_image(plane, containers[0]["image"])
    for variable in containers[0].get("env", []):
        if variable["name"] in _RESERVED:
            raise invalid(f"The following reserved env names were provided: {variable['name']}.")
    _check_size(containers[0].get("resources", {}).get("limits", {}))


def cpu_of(spec: Any) -> Decimal:  # noqa: ANN401 - JSON
    """How many CPUs it asks for."""
    text = spec["containers"][0].get("resources", {}).get("limits", {}).get("cpu", "1")
    return Decimal(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)


def check_quota(spec: Any, most: int) -> None:  # noqa: ANN401 - JSON
    """400 for more instances of a service than its project may have."""
    limits = spec["containers"][0].get("resources", {}).get("limits", {})
    cpu = int(cpu_of(spec) * 1000) * most
    memory = int(_mebibytes(limits.get("memory", "512Mi")) * most)
    if cpu > _QUOTA_CPU or memory > _QUOTA_MEMORY:
        fewer = min(_QUOTA_CPU * most // cpu, _QUOTA_MEMORY * most // memory)
        raise invalid(
            "spec.template.metadata.annotations[autoscaling.knative.dev/maxScale]: Max instances "
            f"must be set to {fewer} or fewer in order to set the requested total CPU.\n\n"
            f"Quota violated:\nCpuAllocPerProjectRegion requested: {cpu} allowed: {_QUOTA_CPU}\n"
            f"MemAllocPerProjectRegion requested: {memory << 20} allowed: {_QUOTA_MEMORY << 20}"
        )


def _mebibytes(memory: str) -> int:
    found = _MEMORY.fullmatch(memory)
    if found is None:
        raise invalid(f"Invalid value for memory: {memory}.")
    return int(found[1]) * (1024 if found[2] == "Gi" else 1)


def _check_size(limits: dict[str, str]) -> None:
    gib = _mebibytes(limits.get("memory", "512Mi")) / 1024
    cpu = cpu_of({"containers": [{"resources": {"limits": limits}}]})
    for more_than, least in _CPU_FOR_GIB:
        if gib > more_than and cpu < least:
            raise invalid(f"Memory of {limits['memory']} needs at least {least} CPUs.")
    if cpu not in (1, 2, 4, 6, 8) and not Decimal("0.08") <= cpu < 1:
        raise invalid(f"Invalid value for cpu: {limits['cpu']}.")
