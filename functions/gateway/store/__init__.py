"""Documents in collections, in SQLite or in Firestore; no other module knows in which.

    store = open_store("sqlite:///home/me/.claude-run/gateway.db", collections=[SESSIONS, EVENTS])
    store.write([Create("sessions/a", {"owner": "me", "expireAt": later})])

A module declares its `Collection`s, with the indexes its queries need, and is written once on top
of `Store`.
"""

from gateway.store.document import EXPIRE_AT, MAX_DOCUMENT_BYTES, Document
from gateway.store.errors import (
    AlreadyExistsError,
    MissingError,
    StoreUnavailableError,
    StoreUsageError,
)
from gateway.store.interface import Store, ping
from gateway.store.opening import open_store
from gateway.store.query import ID, Cursor, Query
from gateway.store.schema import Collection, Index, Schema, firestore_lines
from gateway.store.transaction import Transaction
from gateway.store.writes import Create, Delete, Increment, Put, Update, Write

__all__ = [
    "EXPIRE_AT",
    "ID",
    "MAX_DOCUMENT_BYTES",
    "AlreadyExistsError",
    "Collection",
    "Create",
    "Cursor",
    "Delete",
    "Document",
    "Increment",
    "Index",
    "MissingError",
    "Put",
    "Query",
    "Schema",
    "Store",
    "StoreUnavailableError",
    "StoreUsageError",
    "Transaction",
    "Update",
    "Write",
    "firestore_lines",
    "open_store",
    "ping",
]
