"""How large a value in an event may be, and what becomes of a larger one. Pure.

Sizes are those of the JSON form in UTF-8, as it goes over the wire, quotes included.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

MAX_VALUE_BYTES = 64 * 1024
# What is a word or a sentence of ours or of Claude Code's: a name, an id, a message.
MAX_SHORT = 4_000
# No character takes more: \u0000, and half a surrogate pair.
_MOST_PER_CHARACTER = 6


def to_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Compact JSON in UTF-8; `ValueError` for what JSON does not have (NaN).

    Half a surrogate pair, which a model may print and UTF-8 cannot carry, goes out as JSON's own
    escape: Python's name for it, `\\ud800`, happens to be that.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def size(text: str) -> int:
    """The bytes of a string in JSON."""
    return len(to_json(text))


def is_small(text: str) -> bool:
    """Whether a string is small enough whatever is in it; told without a look at it."""
    return len(text) <= MAX_VALUE_BYTES // _MOST_PER_CHARACTER - 1


def head(text: str) -> str:
    """The longest beginning that is small enough."""
    if is_small(text):
        return text
    text = text[:MAX_VALUE_BYTES]
    if size(text) <= MAX_VALUE_BYTES:
        return text
    return text[: bisect_right(range(len(text)), MAX_VALUE_BYTES, key=lambda n: size(text[:n])) - 1]


def split(text: str) -> Iterator[str]:
    """The text in pieces that are small enough; none for an empty one."""
    start = 0
    while start < len(text):
        piece = head(text[start : start + MAX_VALUE_BYTES])
        yield piece
        start += len(piece)


def cut(value: Any) -> tuple[Any, bool]:  # noqa: ANN401 - any JSON value
    """The value, or its beginning, and whether that is less than all of it.

    Of a structure too large the beginning of its JSON text is left; of one that is no JSON, or
    nested deeper than can be written, nothing.
    """
    if isinstance(value, str):
        short = head(value)
        return short, len(short) < len(value)
    try:
        encoded = to_json(value)
    except (ValueError, RecursionError):
        return "", True
    if len(encoded) <= MAX_VALUE_BYTES:
        return value, False
    return head(encoded.decode()), True


def cut_list(values: Sequence[Any]) -> tuple[list[Any], bool]:
    """As many of the values as fit together, and whether these are fewer than all."""
    room = MAX_VALUE_BYTES - len("[]")
    for number, value in enumerate(values):
        room -= len(to_json(value)) + len(",")
        if room < 0:
            return list(values[:number]), True
    return list(values), False
