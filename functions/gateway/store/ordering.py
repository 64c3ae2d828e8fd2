"""The order of values in an index, as text that compares byte by byte like the values.

Firestore's own order (null, booleans, numbers, times, strings), so that SQLite, which sees only
this text, answers every query as Firestore does.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.store.errors import StoreUsageError

Scalar = None | bool | int | datetime | str

# Firestore cuts longer strings in its index, and answers by what is left.
MAX_INDEXED_BYTES = 1_500
_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# One digit in front of each kind; a range ends before the next.
_NULL, _BOOL, _INT, _TIME, _STR = "01234"


def microseconds(moment: datetime) -> int:
    """A time as a number, from the year 1 on: never negative."""
    return (moment - _EPOCH) // _MICROSECOND


def order_text(value: object) -> str | None:
    """The value's place in an index; None for what cannot stand in one."""
    # By the exact type first, as stored data has it: all fields of all documents come by here.
    place = _PLACES.get(type(value))
    if place is None:
        place = next((place for kind, place in _PLACES.items() if isinstance(value, kind)), _none)
    return place(value)


def _text(value: str) -> str | None:
    # The longest are not encoded to find that out; SQLite's own functions end a text at NUL.
    is_long = len(value) > MAX_INDEXED_BYTES or len(value.encode()) > MAX_INDEXED_BYTES
    return None if is_long or "\0" in value else f"{_STR}{value}"


def _none(_value: object) -> None:
    return None


_PLACES: Mapping[type, Callable[[Any], str | None]] = {
    type(None): lambda _value: _NULL,
    bool: lambda value: f"{_BOOL}{value:d}",  # before the integers, of which it is one
    int: lambda value: f"{_INT}{value + 2**63:020d}",
    datetime: lambda value: f"{_TIME}{microseconds(value):018d}",
    str: _text,
    dict: _none,
    list: _none,
}


def indexed(field: str, value: object) -> str:
    """The place of a value that must have one; `StoreUsageError` where it can have none."""
    text = order_text(value)
    if text is None:
        raise StoreUsageError(
            "The value cannot be looked up: it must be null, a boolean, an integer, a time, "
            f"or a string without NUL of at most {MAX_INDEXED_BYTES} bytes.",
            details={"field": field, "type": type(value).__name__},
        )
    return text


def end_of_kind(text: str) -> str:
    """What is greater than every place of the same kind as this one."""
    return chr(ord(text[0]) + 1)
