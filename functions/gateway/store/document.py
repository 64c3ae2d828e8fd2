"""A document: where it is, what it holds, and what both stores can hold.

The limits are Firestore's (https://firebase.google.com/docs/firestore/quotas), a little tighter,
and hold for SQLite too: what works on a laptop works deployed.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from gateway.store.errors import StoreUsageError

# The one field with a meaning here: from that moment on the document counts as absent.
EXPIRE_AT = "expireAt"

MAX_PATH = 1_000
# Firestore: 1 MiB with names and overhead. What is stored here leaves room for both.
MAX_DOCUMENT_BYTES = 1_000_000
# Firestore: 20 levels of maps and arrays.
MAX_DEPTH = 16
MAX_KEY_BYTES = 1_500

# Ids that neither store would read as something else, and that need no quoting in a resource name.
_SEGMENT = re.compile(r"(?!\.{1,2}\Z)(?!__.*__\Z)[A-Za-z0-9_.~:@=+%-]{1,200}")
# Names that need no quoting in a Firestore field path, nor in a JSON path of SQLite's.
_FIELD = re.compile(r"(?!__.*__\Z)[A-Za-z_][A-Za-z0-9_]{0,99}")
_INT64 = range(-(2**63), 2**63)
# A path is looked at several times on its way through a write, and names come again and again.
_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What was stored at a path; `data` is the reader's own copy."""

    path: str
    data: dict[str, Any]

    @property
    def id(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


@lru_cache(_REMEMBERED)
def split(path: str) -> tuple[str, str]:
    """The collection and the id of a document's path; `StoreUsageError` if it is none."""
    _check_segments(path, even=True)
    collection, _, name = path.rpartition("/")
    return collection, name


def check_collection(path: str) -> None:
    """Raise `StoreUsageError` unless the path is a collection's."""
    _check_segments(path, even=False)


def family(collection: str) -> str:
    """The name that a collection shares with its like under other documents: `events`."""
    return collection.rpartition("/")[2]


def _check_segments(path: str, *, even: bool) -> None:
    segments = path.split("/")
    is_fit = len(path) <= MAX_PATH and all(_SEGMENT.fullmatch(part) for part in segments)
    if not is_fit or (len(segments) % 2 == 0) is not even:
        kind = "document" if even else "collection"
        raise StoreUsageError(f"This is not the path of a {kind}.", details={"path": path[:200]})


@lru_cache(_REMEMBERED)
def check_field(name: str) -> None:
    """Raise `StoreUsageError` unless the name is one that a document's top level can have."""
    if not _FIELD.fullmatch(name):
        raise StoreUsageError("This is not the name of a field.", details={"field": name[:200]})


def own_copy(path: str, data: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """The data in plain types, sharing nothing with its giver, and its size in bytes.

    `StoreUsageError` if it is unfit. Allowed: None, bool, int of 64 bits, finite float, str, bytes,
    aware datetime (kept in UTC), list (not directly in a list) and dict with str keys.
    """
    copier = _Copier(path)
    copied: dict[str, Any] = {}
    size = len(path)
    for name, value in data.items():
        check_field(name)
        copied[name] = copier.copy(value, 1)
        size += len(name) + 1
    size += copier.size
    if size > MAX_DOCUMENT_BYTES:
        rule = f"more than {MAX_DOCUMENT_BYTES} bytes"
        raise StoreUsageError("The document is too large.", details={"path": path, "rule": rule})
    return copied, size


class _Copier:
    """Copies values and adds up their size, as Firestore counts it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.size = 0

    def copy(self, value: object, depth: int) -> Any:  # noqa: ANN401 - a value of any type
        if type(value) is str:  # most of them are, and each is looked at with each write
            self.size += self._length(value) + 1
            return value
        match value:
            case None | bool():
                self.size += 1
                return value
            case dict() | list():
                return self._container(value, depth)
            case str():
                self.size += self._length(value) + 1
                return str(value)
            case bytes():
                self.size += len(value)
                return bytes(value)
        self.size += 8
        return self._fixed_size(value)

    def _fixed_size(self, value: object) -> Any:  # noqa: ANN401 - a value of any type
        match value:
            case int():
                if value not in _INT64:
                    raise self._refusal("an integer does not fit in 64 bits")
                return int(value)
            case float():
                if not math.isfinite(value):
                    raise self._refusal("NaN and infinity cannot be stored")
                return float(value)
            case datetime():
                if value.tzinfo is None:
                    raise self._refusal("a datetime has no time zone")
                return self._in_utc(value)
        raise self._refusal(f"{type(value).__name__} cannot be stored")

    def _in_utc(self, value: datetime) -> datetime:
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise self._refusal("a datetime is out of range in UTC") from None

    def _container(self, value: dict[Any, Any] | list[Any], depth: int) -> Any:  # noqa: ANN401
        if depth > MAX_DEPTH:
            raise self._refusal(f"it is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            return {self._key(key): self.copy(item, depth + 1) for key, item in value.items()}
        if any(isinstance(item, list) for item in value):
            raise self._refusal("a list stands directly in a list")
        return [self.copy(item, depth + 1) for item in value]

    def _key(self, key: object) -> str:
        if not isinstance(key, str):
            raise self._refusal("a key is not a string")
        length = self._length(key)
        if not 0 < length <= MAX_KEY_BYTES or (key.startswith("__") and key.endswith("__")):
            raise self._refusal("a key is empty, too long, or begins and ends with two underscores")
        self.size += length + 1
        return str(key)

    def _length(self, text: str) -> int:
        """In bytes of UTF-8."""
        if text.isascii():
            return len(text)
        try:
            return len(text.encode())
        except UnicodeEncodeError:
            raise self._refusal("a string cannot be written as UTF-8") from None

    def _refusal(self, rule: str) -> StoreUsageError:
        return StoreUsageError(
            f"The document cannot be stored: {rule}.", details={"path": self._path, "rule": rule}
        )


def is_expired(data: Mapping[str, Any], now: datetime) -> bool:
    """Whether a document with this data counts as absent at `now`."""
    expire_at = data.get(EXPIRE_AT)
    return isinstance(expire_at, datetime) and expire_at <= now
