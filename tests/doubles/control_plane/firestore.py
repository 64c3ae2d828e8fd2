"""Databases, composite indexes, single fields and TTL policies (Firestore's admin API)."""

from typing import Any

from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import Call, Refusal, check_fields, invalid, route

DATABASES = "/v1/projects/{project}/databases"
GROUPS = DATABASES + "/{database}/collectionGroups"
_DATABASE = "projects/{project}/databases/{database}"
_GROUP = _DATABASE + "/collectionGroups/{group}"


@route("GET", "firestore", DATABASES, permission="datastore.databases.list")
def listed(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """All of them."""
    del call
    return {"databases": plane.below(f"projects/{project}/databases")}


@route("POST", "firestore", DATABASES, permission="datastore.databases.create")
def create(plane: ControlPlane, call: Call, project: str) -> Any:  # noqa: ANN401 - JSON
    """A new one."""
    if call.field("locationId") not in plane.regions:
        raise invalid(f"Invalid locationId: {call.body['locationId']}.")
    name = f"projects/{project}/databases/{call.query['databaseId']}"
    kept = ("locationId", "type", "deleteProtectionState")
    value = {"name": name, **{field: call.body[field] for field in kept}}
    return _operation(name, plane.make(name, value))


@route("DELETE", "firestore", DATABASES + "/{database}", permission="datastore.databases.delete")
def delete(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """It and everything in it."""
    del call
    name = _DATABASE.format(**names)
    if plane.thing(name)["deleteProtectionState"] != "DELETE_PROTECTION_DISABLED":
        raise Refusal(400, "FAILED_PRECONDITION", "Database has delete protection enabled.")
    plane.remove(name)
    return _operation(name, {})


@route("GET", "firestore", GROUPS + "/-/indexes", permission="datastore.indexes.list")
def indexes(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """All composite indexes."""
    del call
    return {"indexes": _all(plane, _DATABASE.format(**names), "indexes")}


@route("POST", "firestore", GROUPS + "/{group}/indexes", permission="datastore.indexes.create")
def create_index(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """A composite index; of one field Firestore refuses it, and the same twice."""
    known = ("fields", "queryScope", "apiScope", "multikey", "density")
    check_fields(call.body, known, "index")
    plane.thing(_DATABASE.format(**names))
    fields = call.field("fields")
    if len(fields) < 2:
        raise invalid("this index is not necessary, configure using single field index controls")
    parts = [f"{field['fieldPath']}-{field['order'].lower()}" for field in fields]
    name = f"{_GROUP.format(**names)}/indexes/{'-'.join(parts)}"
    # As Google tells it: the document's name ends every index.
    told = [*fields, {"fieldPath": "__name__", "order": fields[-1]["order"]}]
    plane.make(
        name,
        {"name": name, "queryScope": call.body["queryScope"], "fields": told, "state": "READY"},
    )
    kind = "type.googleapis.com/google.firestore.admin.v1.IndexOperationMetadata"
    metadata = {"@type": kind, "index": name, "state": "INITIALIZING"}
    return {"name": f"{_DATABASE.format(**names)}/operations/index", "metadata": metadata}


@route("GET", "firestore", GROUPS + "/-/fields", permission="datastore.indexes.list")
def fields(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """The fields with a configuration of their own, by a filter."""
    database = _DATABASE.format(**names)
    wanted = "ttlConfig" if call.query.get("filter") == "ttlConfig:*" else "indexConfig"
    return {"fields": [one for one in _all(plane, database, "fields") if wanted in one]}


@route("PATCH", "firestore", GROUPS + "/{group}/fields/{field}", permission="datastore.fields")
def change(plane: ControlPlane, call: Call, field: str, **names: str) -> Any:  # noqa: ANN401 - JSON
    """A field's own index configuration, or its TTL policy."""
    plane.thing(_DATABASE.format(**names))
    name = f"{_GROUP.format(**names)}/fields/{field}"
    stored = plane.things.setdefault(name, {"name": name})
    match call.query["updateMask"]:
        case "ttlConfig":
            stored["ttlConfig"] = {"state": "ACTIVE"}
        case "indexConfig":
            stored["indexConfig"] = {"indexes": call.body["indexConfig"].get("indexes", [])}
        case mask:
            raise invalid(f"Invalid update mask {mask}.")
    return {"name": f"{_DATABASE.format(**names)}/operations/field"}


@route(
    "GET",
    "firestore",
    DATABASES + "/{database}/operations/{operation}",
    permission="datastore.operations.get",
)
def operation(plane: ControlPlane, call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
    """Everything is done already."""
    del plane, call
    return _operation(_DATABASE.format(**names), {})


def _all(plane: ControlPlane, database: str, kind: str) -> list[Any]:
    plane.thing(database)
    prefix = f"{database}/collectionGroups/"
    return [
        value
        for name, value in sorted(plane.things.items())
        if name.startswith(prefix) and name[len(prefix) :].split("/")[1] == kind
    ]


def _operation(database: str, response: Any) -> Any:  # noqa: ANN401 - JSON
    return {"name": f"{database}/operations/done", "done": True, "response": response}
