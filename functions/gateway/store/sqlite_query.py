"""A query as SQL that one index answers."""

from gateway.store.document import family
from gateway.store.ordering import indexed
from gateway.store.query import ID, Query
from gateway.store.schema import Index
from gateway.store.sqlite_file import BY_ID, index_name, place_of


def select(query: Query, index: Index | None, *, now: int) -> tuple[str, list[object]]:
    """The statement for ids and texts of live documents, and its parameters.

    INDEXED BY: SQLite is not left to choose. A query that its index could not answer would fail
    instead of being slow.
    """
    order = "id" if query.order == ID else place_of(query.order)
    terms: list[tuple[str, tuple[object, ...]]] = [
        ("collection = ?", (query.collection,)),
        ("(expire_at IS NULL OR expire_at > ?)", (now,)),
        *(
            (f"{place_of(name)} = ?", (indexed(name, value),))
            for name, value in query.equal.items()
        ),
        *_bounds(query, order),
        *_cursor(query, order),
    ]
    name = family(query.collection)
    if index is not None:
        terms.append((f"family = '{name}'", ()))
    used = BY_ID if index is None else index_name(name, index)
    where = " AND ".join(term for term, _ in terms)
    way = "DESC" if query.descending else "ASC"
    by = f"id {way}" if query.order == ID else f"{order} {way}, id {way}"
    # Values are parameters; the names in it are our own, and letters, digits and underscores.
    statement = (
        f'SELECT id, data FROM documents INDEXED BY "{used}" '  # noqa: S608
        f"WHERE {where} ORDER BY {by} LIMIT ?"
    )
    return statement, [*(value for _, values in terms for value in values), query.limit]


def _bounds(query: Query, order: str) -> list[tuple[str, tuple[object, ...]]]:
    if query.order == ID:
        low, high = query.at_least, query.below
    else:
        low, high = query.bounds()
    terms: list[tuple[str, tuple[object, ...]]] = []
    if low is not None:
        terms.append((f"{order} >= ?", (low,)))
    if high is not None:
        terms.append((f"{order} < ?", (high,)))
    # A document without the field is not found; it stands in the index under NULL.
    return terms or ([] if query.order == ID else [(f"{order} IS NOT NULL", ())])


def _cursor(query: Query, order: str) -> list[tuple[str, tuple[object, ...]]]:
    if query.after is None:
        return []
    if query.order == ID:
        return [("id > ?", (query.after.id,))]
    place = query.place(query.after.value)
    beyond = "<" if query.descending else ">"
    # The first term is what the index can be entered by; the second says the rest.
    return [
        (f"{order} {beyond}= ?", (place,)),
        (f"({order}, id) {beyond} (?, ?)", (place, query.after.id)),
    ]
