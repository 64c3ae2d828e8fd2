"""Documents, queries and writes as Firestore's protocol has them.

By hand, on the protocol's own messages: the client's encoder makes a wrapper for every value.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud.firestore_v1 import types

from gateway.store.document import Document, family
from gateway.store.ordering import Scalar
from gateway.store.query import ID, Query
from gateway.store.writes import Create, Delete, Increment, Put, Update, Write

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Operator = types.StructuredQuery.FieldFilter.Operator
_Direction = types.StructuredQuery.Direction


def fill(target: Any, value: object) -> None:  # noqa: ANN401 - protobuf's messages have no types
    """Set a `Value` message; the value has passed `own_copy`."""
    match value:
        case None:
            target.null_value = 0
        case bool():
            target.boolean_value = value
        case int():
            target.integer_value = value
        case float():
            target.double_value = value
        case str():
            target.string_value = value
        case bytes():
            target.bytes_value = value
        case datetime():
            since = value - _EPOCH
            # Assigned even where they are 0: only then is the message there.
            target.timestamp_value.seconds = since.days * 86_400 + since.seconds
            target.timestamp_value.nanos = since.microseconds * 1_000
        case list():
            target.array_value.SetInParent()
            for item in value:
                fill(target.array_value.values.add(), item)
        case dict():
            target.map_value.SetInParent()
            for name, item in value.items():
                fill(target.map_value.fields[name], item)


def read(value: Any) -> Any:  # noqa: ANN401 - as above
    """The value of a `Value` message."""
    kind = value.WhichOneof("value_type")
    match kind:
        case "null_value" | None:
            return None
        case "map_value":
            return read_fields(value.map_value.fields)
        case "array_value":
            return [read(item) for item in value.array_value.values]
        case "timestamp_value":
            moment = value.timestamp_value
            return _EPOCH + timedelta(seconds=moment.seconds, microseconds=moment.nanos // 1_000)
    return getattr(value, kind)


def read_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a message's map of fields."""
    return {name: read(value) for name, value in fields.items()}


def found(
    documents: str, answer: types.BatchGetDocumentsResponse | types.RunQueryResponse
) -> Document | None:
    """The document of an answer; some carry none, only news of the transaction."""
    message = type(answer).pb(answer)
    field = "found" if isinstance(answer, types.BatchGetDocumentsResponse) else "document"
    if not message.HasField(field):
        return None
    stored = getattr(message, field)
    path = stored.name.removeprefix(f"{documents}/")
    return Document(path=path, data=read_fields(stored.fields))


def document(name: str, data: Mapping[str, Any]) -> types.Document:
    """A document under its full resource name."""
    message = types.Document(name=name)
    fields = types.Document.pb(message).fields
    for field, value in data.items():
        fill(fields[field], value)
    return message


def write(documents: str, write: Write, *, is_read: bool) -> types.Write:
    """One write. `is_read`: its transaction has read the document, and knows what is there."""
    name = f"{documents}/{write.path}"
    match write:
        case Delete():
            return types.Write(delete=name)
        case Increment():
            return _increment(name, write.data)
        case Update():
            return types.Write(
                update=document(name, write.data),
                update_mask=types.DocumentMask(field_paths=list(write.data)),
                current_document=types.Precondition(exists=True),
            )
        case Create() if not is_read:
            return types.Write(
                update=document(name, write.data),
                current_document=types.Precondition(exists=False),
            )
        case Create() | Put():
            return types.Write(update=document(name, write.data))


def _increment(name: str, amounts: Mapping[str, int]) -> types.Write:
    return types.Write(
        update=types.Document(name=name),
        # Empty, but there: without a mask everything else in the document would go.
        update_mask=types.DocumentMask(),
        update_transforms=[
            types.DocumentTransform.FieldTransform(
                field_path=field, increment=types.Value(integer_value=amount)
            )
            for field, amount in amounts.items()
        ],
    )


def structured(documents: str, query: Query, *, limit: int) -> types.StructuredQuery:
    """The query, for at most `limit` documents."""
    filters = [_equal(name, value) for name, value in query.equal.items()]
    for bound, operator in (
        (query.at_least, _Operator.GREATER_THAN_OR_EQUAL),
        (query.below, _Operator.LESS_THAN),
    ):
        if bound is not None:
            filters.append(_compare(query.order, operator, _place(documents, query, bound)))
    way = _Direction.DESCENDING if query.descending else _Direction.ASCENDING
    order = [query.order] if query.order == ID else [query.order, ID]
    message = types.StructuredQuery(
        from_=[{"collection_id": family(query.collection)}],
        order_by=[{"field": {"field_path": name}, "direction": way} for name in order],
        limit=limit,
    )
    if filters:
        message.where = types.StructuredQuery.Filter(
            composite_filter={"op": "AND", "filters": filters}
        )
    if query.after is not None:
        values = [] if query.order == ID else [_value(query.after.value)]
        values.append(_reference(documents, query, query.after.id))
        message.start_at = types.Cursor(values=values, before=False)
    return message


def _equal(name: str, value: Scalar) -> types.StructuredQuery.Filter:
    if value is None:
        return types.StructuredQuery.Filter(
            unary_filter={"field": {"field_path": name}, "op": "IS_NULL"}
        )
    return _compare(name, _Operator.EQUAL, _value(value))


def _compare(name: str, operator: int, value: types.Value) -> types.StructuredQuery.Filter:
    return types.StructuredQuery.Filter(
        field_filter={"field": {"field_path": name}, "op": operator, "value": value}
    )


def _place(documents: str, query: Query, bound: Scalar) -> types.Value:
    is_id = query.order == ID
    return _reference(documents, query, str(bound)) if is_id else _value(bound)


def _reference(documents: str, query: Query, name: str) -> types.Value:
    return types.Value(reference_value=f"{documents}/{query.collection}/{name}")


def _value(value: Scalar) -> types.Value:
    message = types.Value()
    fill(types.Value.pb(message), value)
    return message
