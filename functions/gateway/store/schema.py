"""What the collections are: declared by the modules that use them, made true by both stores.

A query that no declared index answers is refused everywhere. Firestore would refuse it only once
deployed: its emulator answers every query, and SQLite would by reading everything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.store.document import EXPIRE_AT, check_field, family, split
from gateway.store.errors import StoreUsageError
from gateway.store.ordering import indexed
from gateway.store.query import ID, Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What queries of one shape need: the fields compared for equality, and the order."""

    equal: tuple[str, ...] = ()
    order: str = ID
    descending: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it is made of, in their order."""
        return self.equal if self.order == ID else (*self.equal, self.order)

    @property
    def shape(self) -> tuple[frozenset[str], str, bool]:
        """What a query and its index have in common."""
        return frozenset(self.equal), self.order, self.descending


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """All collections of one name, wherever they stand.

    `expires`: every document has `expireAt`, or none has; a TTL policy is for the whole name.
    `unindexed`: fields that hold payload. Firestore indexes every field by itself, up to 40,000
    entries a document, unless it is told not to.
    """

    name: str
    expires: bool
    indexes: tuple[Index, ...] = ()
    unindexed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fields = (name for index in self.indexes for name in index.fields)
        for name in (self.name, *self.unindexed, *fields):
            check_field(name)
        if any(
            index.order == ID and (index.descending or not index.equal) for index in self.indexes
        ):
            raise StoreUsageError("By id alone needs no index, and descending by id has none.")


# What a health check reads: a document that is never there.
HEALTH = Collection(name="health", expires=False)


class Schema:
    """All collections of a deployment."""

    def __init__(self, collections: Iterable[Collection]) -> None:
        self.collections = (HEALTH, *collections)
        self._named = {collection.name: collection for collection in self.collections}
        if len(self._named) != len(self.collections):
            raise StoreUsageError("A collection is declared twice.")
        self._shapes = {
            (collection.name, index.shape): index
            for collection in self.collections
            for index in collection.indexes
        }
        self._indexed = {
            collection.name: {name for index in collection.indexes for name in index.fields}
            for collection in self.collections
        }

    def of(self, path: str) -> Collection:
        """The collection that a document's path lies in, or `StoreUsageError`."""
        return self._of_collection(split(path)[0])

    def _of_collection(self, collection: str) -> Collection:
        found = self._named.get(family(collection))
        if found is None:
            raise StoreUsageError(
                "The collection is not declared.", details={"collection": collection}
            )
        return found

    def index_for(self, query: Query) -> Index | None:
        """The declared index that answers it, None where ids alone do, or `StoreUsageError`."""
        name = self._of_collection(query.collection).name
        shape = frozenset(query.equal), query.order, query.descending
        index = self._shapes.get((name, shape))
        if index is None and shape != (frozenset(), ID, False):
            raise StoreUsageError(
                "No declared index answers this query.",
                details={
                    "collection": name,
                    "equal": sorted(query.equal),
                    "order": query.order,
                    "descending": query.descending,
                },
            )
        return index

    def check_data(self, path: str, data: Mapping[str, Any], *, is_whole: bool) -> None:
        """Raise `StoreUsageError` where data breaks its collection's rules.

        `is_whole`: it is a whole document, not some fields of one.
        """
        collection = self.of(path)
        if EXPIRE_AT in data:
            is_right = collection.expires and isinstance(data[EXPIRE_AT], datetime)
        else:
            is_right = not (collection.expires and is_whole)
        if not is_right:
            rule = "a time in" if collection.expires else "no"
            raise StoreUsageError(
                f"Documents of this collection have {rule} {EXPIRE_AT}.", details={"path": path}
            )
        for name in self._indexed[collection.name] & data.keys():
            indexed(name, data[name])


def firestore_lines(schema: Schema) -> list[str]:
    """What a database of Firestore has to be told of them, one fact a line: `infra/firestore.txt`.

    `index COLLECTION FIELD:ORDER…`, `unindexed COLLECTION FIELD`, `ttl COLLECTION FIELD`.
    """
    return [line for collection in schema.collections for line in _lines(collection)]


def _lines(collection: Collection) -> list[str]:
    name = collection.name
    composite = [
        f"index {name} {_ordered(index)}"
        for index in collection.indexes
        # Firestore makes those of one field by itself, and refuses to be told.
        if len(index.fields) > 1
    ]
    ends = [EXPIRE_AT] if collection.expires else []
    # Nobody asks by it, and an index over times that only rise is a hot spot.
    exempt = [f"unindexed {name} {field}" for field in (*collection.unindexed, *ends)]
    return [*composite, *exempt, *(f"ttl {name} {field}" for field in ends)]


def _ordered(index: Index) -> str:
    *equal, last = index.fields
    order = "descending" if index.descending else "ascending"
    return " ".join([*(f"{field}:ascending" for field in equal), f"{last}:{order}"])
