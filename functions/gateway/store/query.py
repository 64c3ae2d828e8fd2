"""A query: documents of one collection, by equal fields, in the order of one field or of ids."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gateway.store.document import Document, check_collection, check_field
from gateway.store.errors import StoreUsageError
from gateway.store.ordering import Scalar, end_of_kind, indexed

# As the order: by document id.
ID = "__name__"
MAX_LIMIT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in a query's order: a document's id, and its value of the field ordered by."""

    id: str
    value: Scalar = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Documents of `collection` whose fields equal `equal`, at most `limit` of them.

    Those with `at_least` <= value < `below` in the order's field, or, without one, of their id.
    As in Firestore, a document that lacks one of the fields is not found, and a bound finds only
    values of its own kind. Equal values are ordered by id. By id only ascending: Firestore would
    need an index of its own for the other way; order by a field that holds the id.
    """

    collection: str
    limit: int
    equal: Mapping[str, Scalar] = field(default_factory=dict)
    order: str = ID
    descending: bool = False
    at_least: Scalar = None
    below: Scalar = None
    after: Cursor | None = None

    def __post_init__(self) -> None:
        check_collection(self.collection)
        fields = [*self.equal] if self.order == ID else [*self.equal, self.order]
        for name in fields:
            check_field(name)
        bounds = (self.at_least, self.below)
        rules = {
            f"limit must be 1 to {MAX_LIMIT}": 1 <= self.limit <= MAX_LIMIT,
            "the order's field is among the equal ones": len(set(fields)) == len(fields),
            "ids come in ascending order only": self.order != ID or not self.descending,
            "an id is a string": self.order != ID
            or all(bound is None or isinstance(bound, str) for bound in bounds),
            "the bounds must be of one kind": None in bounds
            or self.place(self.at_least)[0] == self.place(self.below)[0],
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise StoreUsageError(f"This is no query: {broken[0]}.", details={"rule": broken[0]})
        for name, value in self.equal.items():
            indexed(name, value)
        cursor = () if self.after is None else (self.after.value,)
        for value in (*bounds, *cursor):
            self.place(value)

    def place(self, value: Scalar) -> str:
        """Where a value of the order's field stands."""
        return indexed(self.order, value)

    def bounds(self) -> tuple[str | None, str | None]:
        """The places [from, to) that the bounds mean; None on both sides where there is none."""
        if self.at_least is None and self.below is None:
            return None, None
        low = None if self.at_least is None else self.place(self.at_least)
        high = None if self.below is None else self.place(self.below)
        kind = (low or high or "")[0]
        return low or kind, high or end_of_kind(kind)

    def cursor(self, document: Document) -> Cursor:
        """The place of a document that this query has found."""
        value = None if self.order == ID else document.data[self.order]
        return Cursor(id=document.id, value=value)

    def following(self, document: Document) -> "Query":
        """The same query, going on after a document that it has found."""
        return replace(self, after=self.cursor(document))
