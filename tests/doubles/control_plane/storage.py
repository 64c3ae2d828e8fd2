"""Buckets, and the sources that are uploaded into them (Cloud Storage's JSON API)."""

import json
import re
from typing import Any
from urllib.parse import unquote

from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import Call, Refusal, invalid, route

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
# A multipart upload: the object's metadata, and its content.
_BOUNDARY = re.compile(r"""boundary=["']?([^"';]+)["']?""")


@route("GET", "storage", "/storage/v1/b", permission="storage.buckets.list")
def listed(plane: ControlPlane, call: Call) -> Any:  # noqa: ANN401 - JSON
    """The project's, by a prefix."""
    prefix = call.query.get("prefix", "")
    found = [one for one in plane.below("b") if one["name"].startswith(prefix)]
    return {"kind": "storage#buckets", "items": found}


@route("POST", "storage", "/storage/v1/b", permission="storage.buckets.create")
def create(plane: ControlPlane, call: Call) -> Any:  # noqa: ANN401 - JSON
    """A new one."""
    name = call.field("name")
    if not _NAME.fullmatch(name) or "google" in name:
        raise invalid(f"Invalid bucket name: '{name}'")
    return plane.make(f"b/{name}", {"id": name, "projectNumber": plane.number, **call.body})


@route("GET", "storage", "/storage/v1/b/{bucket}", permission="storage.buckets.get")
def describe(plane: ControlPlane, call: Call, bucket: str) -> Any:  # noqa: ANN401 - JSON
    """One of them."""
    del call
    return plane.thing(f"b/{bucket}")


@route("PATCH", "storage", "/storage/v1/b/{bucket}", permission="storage.buckets.update")
def update(plane: ControlPlane, call: Call, bucket: str) -> Any:  # noqa: ANN401 - JSON
    """Other values."""
    found: dict[str, Any] = plane.thing(f"b/{bucket}")
    found.update(call.body)
    return found


@route("DELETE", "storage", "/storage/v1/b/{bucket}", permission="storage.buckets.delete")
def delete(plane: ControlPlane, call: Call, bucket: str) -> Any:  # noqa: ANN401 - JSON
    """Only an empty one."""
    del call
    if any(name.startswith(f"b/{bucket}/o/") for name in plane.things):
        raise Refusal(409, "CONFLICT", "The bucket you tried to delete is not empty.")
    plane.remove(f"b/{bucket}")
    return None


@route("GET", "storage", "/storage/v1/b/{bucket}/o", permission="storage.objects.list")
def objects(plane: ControlPlane, call: Call, bucket: str) -> Any:  # noqa: ANN401 - JSON
    """What is in a bucket, by a prefix."""
    plane.thing(f"b/{bucket}")
    prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter")
    start = f"b/{bucket}/o/"
    found = [one for name, one in sorted(plane.things.items()) if name.startswith(start + prefix)]
    folders: set[str] = set()
    if delimiter:
        rest = {one["name"]: one["name"][len(prefix) :] for one in found}
        found = [one for one in found if delimiter not in rest[one["name"]]]
        folders = {
            prefix + one.partition(delimiter)[0] + delimiter
            for one in rest.values()
            if delimiter in one
        }
    return {"kind": "storage#objects", "items": found, "prefixes": sorted(folders)}


@route("GET", "storage", "/storage/v1/b/{bucket}/storageLayout", permission="storage.buckets.get")
def layout(plane: ControlPlane, call: Call, bucket: str) -> Any:  # noqa: ANN401 - JSON
    """Flat: its folders are only names."""
    del call
    plane.thing(f"b/{bucket}")
    return {"kind": "storage#storageLayout", "bucket": bucket}


@route(
    "DELETE", "storage", "/storage/v1/b/{bucket}/o/{object}", permission="storage.objects.delete"
)
def delete_object(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """It is gone."""
    del call
    plane.remove(f"b/{names['bucket']}/o/{unquote(names['object'])}")
    return None


@route("POST", "storage", "/resumable/upload/storage/v1/b/{bucket}/o", permission="storage.create")
@route("POST", "storage", "/upload/storage/v1/b/{bucket}/o", permission="storage.objects.create")
def upload(plane: ControlPlane, call: Call, bucket: str) -> Any:  # noqa: ANN401 - JSON
    """An object, in one request."""
    plane.thing(f"b/{bucket}")
    found = _BOUNDARY.search(call.headers.get("content-type", ""))
    if found is None:
        raise invalid("The double takes multipart uploads only.")
    head, content = _parts(call.raw, found[1].encode())
    name = call.query.get("name") or json.loads(head)["name"]
    value = {"name": name, "bucket": bucket, "generation": "1", "size": str(len(content))}
    plane.things[f"b/{bucket}/o/{name}"] = value
    plane.uploads[f"{bucket}/{name}"] = content
    return value


def _parts(raw: bytes, boundary: bytes) -> tuple[bytes, bytes]:
    """The bodies of the two parts."""
    _, head, content, _ = raw.split(b"--" + boundary, 3)
    bodies = [re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1] for part in (head, content)]
    return bodies[0], re.sub(rb"\r?\n\Z", b"", bodies[1])


@route("GET", "storage", "/storage/v1/b/{bucket}/iam", permission="storage.buckets.getIamPolicy")
def read_policy(plane: ControlPlane, call: Call, bucket: str) -> Any:  # noqa: ANN401 - JSON
    """Its policy."""
    from doubles.control_plane import policies

    del call
    return policies.read(plane, f"b/{bucket}")


@route("PUT", "storage", "/storage/v1/b/{bucket}/iam", permission="storage.buckets.setIamPolicy")
def write_policy(plane: ControlPlane, call: Call, bucket: str) -> Any:  # noqa: ANN401 - JSON
    """Another policy."""
    from doubles.control_plane import policies

    kept = {name: call.body[name] for name in ("bindings", "etag", "version") if name in call.body}
    return policies.write(plane, f"b/{bucket}", kept)
