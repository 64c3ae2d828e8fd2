"""What a session keeps for its next turn: transcript, change set, and what a worker shall do.

All are opaque here and can be larger than a document, so each is cut into documents of at most
900 KB, under ids that sort as they were written.
"""

import json
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from claude_run.errors import UpstreamError
from gateway.store import ID, Collection, Put, Query, Store

PIECE_BYTES = 900_000
# Seven of those in one batch stay below what a store takes at once.
PIECES_PER_WRITE = 7
# Of a transcript and of a change set, beside a batch of events.
PIECES_PER_COMMIT = 3
PIECES_PER_READ = 20
# Fast, and text shrinks to a fifth even so.
_LEVEL = 1

TRANSCRIPT = Collection(name="transcript", expires=True, unindexed=("data",))
CHANGES = Collection(name="changes", expires=True, unindexed=("data",))
REQUESTS = Collection(name="requests", expires=True, unindexed=("data",))


def pieces(collection: str, prefix: str, value: Any, *, expire_at: datetime) -> list[Put]:  # noqa: ANN401 - any JSON value
    """The writes of one value, which is there once the last of them is."""
    text = json.dumps(value, separators=(",", ":"))  # ASCII, so half a surrogate pair survives
    data = zlib.compress(text.encode(), _LEVEL)
    parts = [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
    return [
        Put(
            f"{collection}/{prefix}-{number:04d}",
            {"data": part, "last": number == len(parts) - 1, "expireAt": expire_at},
        )
        for number, part in enumerate(parts)
    ]


def write_ahead(store: Store, writes: list[Put]) -> list[Put]:
    """Write all but the last pieces, which are returned: small enough to go into a commit."""
    ahead, rest = writes[:-PIECES_PER_COMMIT], writes[-PIECES_PER_COMMIT:]
    for start in range(0, len(ahead), PIECES_PER_WRITE):
        store.write(ahead[start : start + PIECES_PER_WRITE])
    return rest


def read(store: Store, collection: str, *, prefix: str = "") -> Iterator[Any]:
    """All values whose ids begin with `prefix`, in order; a value that is not whole is left out."""
    pieces: list[bytes] = []
    current = ""
    for name, data in _pieces(store, collection, prefix):
        value, _, number = name.rpartition("-")
        if value != current:
            current, pieces = value, []
        if int(number) != len(pieces):
            continue  # one before it is missing, so none of the later ones fits either
        pieces.append(data["data"])
        if data["last"]:
            yield _decode(b"".join(pieces))


def _decode(data: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(zlib.decompress(data))
    except (zlib.error, ValueError):
        raise UpstreamError("What the session has stored cannot be read.") from None


def _pieces(store: Store, collection: str, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    query = Query(
        collection=collection,
        order=ID,
        limit=PIECES_PER_READ,
        at_least=prefix or None,
        below=f"{prefix}~" if prefix else None,
    )
    while True:
        found = store.query(query)
        for document in found:
            yield document.id, document.data
        if len(found) < PIECES_PER_READ:
            return
        query = query.following(found[-1])


def paths(store: Store, collection: str, *, prefix: str) -> list[str]:
    """Where the pieces are of a value, or of several."""
    return [f"{collection}/{name}" for name, _ in _pieces(store, collection, prefix)]
