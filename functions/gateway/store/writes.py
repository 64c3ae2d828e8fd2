"""What can be written: five kinds of write, in batches that happen whole or not at all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.store.document import own_copy
from gateway.store.errors import StoreUsageError
from gateway.store.schema import Schema

# Firestore: 10 MiB a request, names and overhead included.
MAX_BATCH_BYTES = 9_000_000
MAX_WRITES = 500


@dataclass(frozen=True, slots=True)
class Create:
    """A new document; `AlreadyExistsError` where there is one."""

    path: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Put:
    """A document, whatever was there before."""

    path: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Update:
    """New values for some fields of a document, each replaced whole; `MissingError` without it."""

    path: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Increment:
    """Adds integers to fields; what is missing, the document too, counts as 0.

    Reads nothing, so that writers in parallel do not wait for one another. Only in collections
    that do not expire: nobody would look whether the document has.
    """

    path: str
    data: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Delete:
    """No document; it need not have been there."""

    path: str


Write = Create | Put | Update | Increment | Delete


class Batch:
    """Writes that happen together, each checked when it is added and shared with nobody."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._size = 0
        self._writes: dict[str, Write] = {}

    @property
    def writes(self) -> tuple[Write, ...]:
        """All writes, in the order they came."""
        return tuple(self._writes.values())

    def add(self, writes: Iterable[Write]) -> None:
        """Add writes, or raise `StoreUsageError`."""
        for write in writes:
            copy, size = _checked(self._schema, write)
            self._size += size
            # A rule of ours: what two writes of one document mean is not the same in both stores.
            if write.path in self._writes:
                raise StoreUsageError(
                    "The batch writes a document twice.", details={"path": write.path}
                )
            self._writes[write.path] = copy
        if len(self._writes) > MAX_WRITES or self._size > MAX_BATCH_BYTES:
            rule = f"at most {MAX_WRITES} writes of {MAX_BATCH_BYTES} bytes"
            raise StoreUsageError("The batch is too large.", details={"rule": rule})


def _checked(schema: Schema, write: Write) -> tuple[Write, int]:
    collection = schema.of(write.path)
    if isinstance(write, Delete):
        return write, len(write.path)
    is_partial = isinstance(write, Update | Increment)
    if is_partial and not write.data:
        raise StoreUsageError("The write names no field.", details={"path": write.path})
    if isinstance(write, Increment) and (
        collection.expires or any(type(amount) is not int for amount in write.data.values())
    ):
        raise StoreUsageError(
            "Only integers are incremented, and only in collections that do not expire.",
            details={"path": write.path},
        )
    data, size = own_copy(write.path, write.data)
    schema.check_data(write.path, data, is_whole=not is_partial)
    return type(write)(write.path, data), size
