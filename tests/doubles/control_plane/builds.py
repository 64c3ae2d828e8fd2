"""Builds (Cloud Build): they take no time, and what they make is in the registry."""

import hashlib
import io
import tarfile
import zipfile
import zlib
from typing import Any

from doubles.control_plane import registry, templates
from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import Call, Refusal, invalid, route


def build(
    plane: ControlPlane,
    *,
    region: str,
    source: Any,  # noqa: ANN401 - JSON
    images: list[str],
    account: str,
    seed: str,
    needs: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401 - JSON
    """Build something; its source must have been uploaded, its account be there."""
    uploaded = f"{source['bucket']}/{source['object']}"
    if uploaded not in plane.uploads:
        raise Refusal(404, "NOT_FOUND", f"The source gs://{uploaded} does not exist.")
    email = account.rpartition("/")[2]
    if f"projects/{plane.project}/serviceAccounts/{email}" not in plane.things:
        raise Refusal(400, "INVALID_ARGUMENT", f"The service account {email} does not exist.")
    number = str(sum(name.startswith("builds/") for name in plane.things) + 1)
    failed = any(name in image for image in images for name in plane.broken_builds)
    files = _contents(plane.uploads[uploaded])
    if missing := [name for name in needs if name not in files]:
        raise invalid(f"The source has no {', '.join(missing)} at its top.")
    digest = "sha256:" + hashlib.sha256(repr((seed, files)).encode()).hexdigest()
    made = {
        "id": number,
        "name": f"projects/{plane.project}/locations/{region}/builds/{number}",
        "projectId": plane.project,
        "status": "FAILURE" if failed else "SUCCESS",
        "logUrl": f"https://console.cloud.google.com/builds/{number}",
        "images": images,
        "serviceAccount": account,
        "results": {"images": [{"name": image, "digest": digest} for image in images]},
    }
    if not failed:
        for image in images:
            registry.push(plane, image, digest)
    plane.things[f"builds/{number}"] = made
    return made


@route(
    "POST",
    "cloudbuild",
    "/v1/projects/{project}/locations/{region}/builds",
    permission="cloudbuild.builds.create",
)
def submit(plane: ControlPlane, call: Call, project: str, region: str) -> Any:  # noqa: ANN401
    """A build from a file such as `cloudbuild.yaml`."""
    del project
    given = call.body
    words = given.get("substitutions", {})
    templates.check(given, words)
    images = [templates.filled(image, words) for image in given.get("images", [])]
    if "serviceAccount" in given and "logging" not in given.get("options", {}):
        raise invalid(
            "if 'build.service_account' is specified, the build must either (a) specify "
            "'build.logs_bucket', or use the (c) CLOUD_LOGGING_ONLY / NONE logging options"
        )
    if not given.get("steps"):
        raise invalid("build.steps must not be empty")
    made = build(
        plane,
        region=region,
        source=given["source"]["storageSource"],
        images=images,
        account=templates.filled(given.get("serviceAccount", ""), words),
        seed=" ".join(images),
    )
    made["options"] = given.get("options", {})
    return _operation(made)


@route(
    "GET",
    "cloudbuild",
    "/v1/projects/{project}/locations/{region}/operations/{number}",
    permission="cloudbuild.builds.get",
)
def operation(plane: ControlPlane, call: Call, number: str, **names: str) -> Any:  # noqa: ANN401
    """A build is over at once."""
    del call, names
    return _operation(plane.thing(f"builds/{number}"))


@route(
    "GET",
    "cloudbuild",
    "/v1/projects/{project}/locations/{region}/builds/{number}",
    permission="cloudbuild.builds.get",
)
def describe(plane: ControlPlane, call: Call, number: str, **names: str) -> Any:  # noqa: ANN401
    """One build."""
    del call, names
    return plane.thing(f"builds/{number}")


@route(
    "GET",
    "cloudbuild",
    "/v1/projects/{project}/locations/{region}/defaultServiceAccount",
    permission="cloudbuild.builds.get",
)
def default_account(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """Who builds, where nobody is named."""
    del call
    email = f"{plane.number}-compute@developer.gserviceaccount.com"
    return {
        "name": "projects/{project}/locations/{region}/defaultServiceAccount".format(**names),
        "serviceAccountEmail": f"projects/{plane.project}/serviceAccounts/{email}",
    }


def _contents(source: bytes) -> dict[str, int]:
    """What is in a source: its files by name, with their checksums."""
    if source.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(source)) as packed:
            return {one.filename: one.CRC for one in packed.infolist() if not one.is_dir()}
    with tarfile.open(fileobj=io.BytesIO(source)) as packed:
        members = [member for member in packed.getmembers() if member.isfile()]
        return {one.name: zlib.crc32(packed.extractfile(one).read()) for one in members}  # type: ignore[union-attr]


def _operation(made: Any) -> Any:  # noqa: ANN401 - JSON
    region = made["name"].split("/")[3]
    return {
        "name": f"projects/{made['projectId']}/locations/{region}/operations/{made['id']}",
        "metadata": {
            "@type": "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata",
            "build": made,
        },
        "done": True,
        "response": {"@type": "type.googleapis.com/google.devtools.cloudbuild.v1.Build", **made},
    }
