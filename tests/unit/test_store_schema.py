"""What collections may be, what Firestore is told of them, and which URL is a store's."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from claude_run.errors import ConfigurationError
from gateway.store import (
    Collection,
    Index,
    Query,
    Schema,
    StoreUsageError,
    firestore_lines,
    open_store,
)
from gateway.store.ordering import order_text
from store_contract import COLLECTIONS

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_what_firestore_is_told() -> None:
    """Composite indexes as declared, none of a single field; payload exempt; TTL and no index."""
    sessions = Collection(
        name="sessions",
        expires=True,
        indexes=(
            Index(equal=("owner",), order="createdAt", descending=True),
            Index(equal=("owner",)),
            Index(order="createdAt"),
        ),
    )
    events = Collection(name="events", expires=True, unindexed=("lines",))
    setup = Collection(name="setup", expires=False)
    assert firestore_lines(Schema([sessions, events, setup])) == [
        "index sessions owner:ascending createdAt:descending",
        "unindexed sessions expireAt",
        "ttl sessions expireAt",
        "unindexed events lines",
        "unindexed events expireAt",
        "ttl events expireAt",
    ]


def _collection(**arguments: Any) -> Collection:  # noqa: ANN401 - wrong ones too
    return Collection(**arguments)


def _query(**arguments: Any) -> Query:  # noqa: ANN401 - wrong ones too
    return Query(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "a/b"},
        {"name": "a b"},
        {"name": "__a__"},
        {"unindexed": ("a.b",)},
        {"indexes": (Index(equal=("a'",)),)},
        {"indexes": (Index(order="a b"),)},
        {"indexes": (Index(),)},
        {"indexes": (Index(equal=("a",), descending=True),)},
    ],
)
def test_a_collection_that_is_none(arguments: dict[str, Any]) -> None:
    """Refused where it is declared: its names stand in SQL and in Firestore's paths."""
    with pytest.raises(StoreUsageError):
        _collection(**{"name": "things", "expires": False, **arguments})


def test_a_collection_is_declared_once() -> None:
    """Two modules cannot mean different things by one name."""
    with pytest.raises(StoreUsageError, match="twice"):
        Schema([Collection(name="a", expires=False), Collection(name="a", expires=True)])


@pytest.mark.parametrize(
    "arguments",
    [
        {"limit": 0},
        {"limit": 1_001},
        {"collection": "things/a"},
        {"equal": {"a b": 1}},
        {"equal": {"a": 1.5}},
        {"equal": {"a": "x" * 1_501}},
        {"equal": {"a": 1}, "order": "a"},
        {"descending": True},
        {"at_least": 1},
        {"order": "a", "at_least": 1, "below": "x"},
        {"order": "a", "at_least": 1.5},
        {"order": "a'"},
    ],
)
def test_a_query_that_is_none(arguments: dict[str, Any]) -> None:
    """Refused where it is made, with the rule."""
    with pytest.raises(StoreUsageError):
        _query(**{"collection": "things", "limit": 1, **arguments})


def test_places_are_ordered_like_values() -> None:
    """Each kind for itself, and the kinds in Firestore's order, as bytes."""
    values: list[object] = [None, False, True, -(2**63), -1, 0, 1, 2**63 - 1]
    values += [datetime.min.replace(tzinfo=UTC), NOW, NOW + timedelta(microseconds=1)]
    values += ["", "A", "a", "a ", "aa", "ä", "\uffff", "\U0001f600"]
    places = [order_text(value) for value in values]
    assert None not in places
    texts = [place.encode() for place in places if place is not None]
    assert texts == sorted(set(texts))
    unplaced: list[object] = [1.5, b"x", [], {}, "a\0"]
    assert [order_text(value) for value in unplaced] == [None] * 5


@pytest.mark.parametrize(
    "url",
    [
        *("", "sqlite:", "sqlite://", "sqlite:///", "sqlite://relative.db", "postgres:///x"),
        *("firestore://", "firestore://project", "firestore://project/", "firestore://p/x/y"),
        *("firestore://Project/(default)", "firestore://project/default db", "firestore:///x"),
    ],
)
def test_a_url_that_is_none(url: str) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match="STORE_URL"):
        open_store(url, collections=COLLECTIONS)


@pytest.mark.parametrize("database", ["(default)", "claude-run"])
def test_a_url_of_firestore(database: str) -> None:
    """Projects of an organisation too; nothing is connected."""
    store = open_store(f"firestore://example.com:project-1/{database}", collections=COLLECTIONS)
    assert repr(store) == (f"FirestoreStore('projects/example.com:project-1/databases/{database}')")
    store.close()
