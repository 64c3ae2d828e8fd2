"""Repositories and the images in them (Artifact Registry)."""

import re
from typing import Any
from urllib.parse import unquote

from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import Call, Refusal, check_fields, policy_routes, route

REPOSITORIES = "/v1/projects/{project}/locations/{region}/repositories"
_NAME = "projects/{project}/locations/{region}/repositories/{repository}"


@route("GET", "artifactregistry", REPOSITORIES, permission="artifactregistry.repositories.list")
def listed(plane: ControlPlane, call: Call, project: str, region: str) -> Any:  # noqa: ANN401
    """Those of a region."""
    del call
    return {"repositories": plane.below(f"projects/{project}/locations/{region}/repositories")}


@route("POST", "artifactregistry", REPOSITORIES, permission="artifactregistry.repositories.create")
def create(plane: ControlPlane, call: Call, project: str, region: str) -> Any:  # noqa: ANN401
    """A new one; done at once."""
    known = ("name", "format", "mode", "labels", "description")
    check_fields(call.body, known, "repository")
    name = _NAME.format(project=project, region=region, repository=call.query["repositoryId"])
    made = plane.make(name, {**call.body, "name": name, "mode": "STANDARD_REPOSITORY"})
    return _operation(project, region, made)


@route(
    "GET",
    "artifactregistry",
    REPOSITORIES + "/{repository}",
    permission="artifactregistry.repositories.get",
)
def describe(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """One of them."""
    del call
    return plane.thing(_NAME.format(**names))


@route(
    "PATCH",
    "artifactregistry",
    REPOSITORIES + "/{repository}",
    permission="artifactregistry.repositories.update",
)
def update(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """The fields of the mask."""
    stored: dict[str, Any] = plane.thing(_NAME.format(**names))
    for name in call.query["updateMask"].split(","):
        field = re.sub("_(.)", lambda found: found[1].upper(), name)
        stored[field] = call.body[field]
    return stored


@route(
    "DELETE",
    "artifactregistry",
    REPOSITORIES + "/{repository}",
    permission="artifactregistry.repositories.delete",
)
def delete(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """It, and all images in it."""
    del call
    plane.remove(_NAME.format(**names))
    return _operation(names["project"], names["region"], {})


@route(
    "GET",
    "artifactregistry",
    "/v1/projects/{project}/locations/{region}/operations/{operation}",
    permission="artifactregistry.repositories.get",
)
def operation(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """Everything is done already."""
    del plane, call
    return {"name": "projects/{project}/locations/{region}/operations/{operation}".format(**names),
            "done": True, "response": {}}  # fmt: skip


def push(plane: ControlPlane, image: str, digest: str) -> str:
    """An image, by what a build calls it; its name with its digest."""
    name, tag = _split(image)
    plane.thing(name.rpartition("/dockerImages/")[0])
    stored = plane.things.setdefault(name, {"tags": {}, "digests": []})
    stored["tags"][tag] = digest
    stored["digests"] = sorted({*stored["digests"], digest})
    return f"{image.partition('@')[0].rpartition(':')[0] or image}@{digest}"


def check_image(plane: ControlPlane, image: str) -> None:
    """404 where a service would have to run an image that is not there."""
    name, tag = _split(image.partition("@")[0])
    stored = plane.things.get(name, {"tags": {}, "digests": []})
    digest = image.partition("@")[2]
    if (digest or tag) not in (stored["digests"] if digest else stored["tags"]):
        raise Refusal(400, "INVALID_ARGUMENT", f"Image '{image}' not found.")


def _split(image: str) -> tuple[str, str]:
    host, project, repository, rest = unquote(image).split("/", 3)
    region = host.removesuffix("-docker.pkg.dev")
    package, _, tag = rest.partition(":")
    name = _NAME.format(project=project, region=region, repository=repository)
    return f"{name}/dockerImages/{package}", tag or "latest"


def _operation(project: str, region: str, made: Any) -> Any:  # noqa: ANN401 - JSON
    del made
    return {"name": f"projects/{project}/locations/{region}/operations/made", "done": True,
            "response": {}}  # fmt: skip


policy_routes(
    "artifactregistry",
    REPOSITORIES + "/{repository}",
    name=_NAME,
    verb="artifactregistry.repositories",
)
