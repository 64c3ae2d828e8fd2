"""Images that Cloud Run has built from a source (its v2 API)."""

from typing import Any

from doubles.control_plane import builds
from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import Call, check_fields, invalid, route

_KNOWN = (
    *("storageSource", "imageUri", "buildpackBuild", "dockerBuild", "tags", "serviceAccount"),
    *("workerPool", "machineType", "client"),
)
_PYTHONS = ("python310", "python311", "python312", "python313", "python314")


@route(
    "POST",
    "run",
    "/v2/projects/{project}/locations/{region}/builds:submit",
    permission="run.builds.submit",
)
def submit(plane: ControlPlane, call: Call, project: str, region: str) -> Any:  # noqa: ANN401
    """A function's image: its source has `main.py` on top, its Python is one that there is."""
    del project
    check_fields(call.body, _KNOWN, "submit_build_request")
    pack = call.field("buildpackBuild")
    base = pack.get("baseImage", "")
    if base not in _PYTHONS:
        raise invalid(f"Invalid base image {base}.")
    made = builds.build(
        plane,
        region=region,
        source=call.field("storageSource"),
        images=[call.field("imageUri")],
        account=call.field("serviceAccount"),
        seed=f"{call.body['imageUri']} {pack.get('functionTarget')}",
        needs=("main.py", "requirements.txt"),
    )
    return {"buildOperation": builds._operation(made), "baseImageUri": f"{region}/{base}"}
