"""A session's log: its events in the form in which they are sent, in batches that never change.

A batch holds whole SSE frames, so that a replay is a copy from the store to the socket.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gateway.sessions.record import Usage, path_of
from gateway.store import Collection, Create, Document, Index, Query, Store

MAX_BATCH_BYTES = 200_000
MAX_BATCH_EVENTS = 256
# Of one read: at most 1.6 MB come into memory at once.
BATCHES_PER_READ = 8

COLLECTION = Collection(
    name="events",
    expires=True,
    indexes=(Index(order="last"), Index(order="last", descending=True)),
    unindexed=("frames", "used"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One event as it is sent, and its number."""

    id: int
    data: bytes


def batch_path(key: str, first: int) -> str:
    """Where the batch that begins with a number is."""
    return f"{path_of(key)}/events/{first:019d}"


def batch(
    key: str, frames: list[Frame], *, expire_at: datetime, used: Usage | None = None
) -> Create:
    """The write of a batch, under its first number.

    `used`: by a turn that goes on. It is for whoever ends that turn in the place of a driver that
    died: the newest batch has it at hand, however long ago the last `usage` event was.
    """
    first, last = frames[0].id, frames[-1].id
    data: dict[str, Any] = {
        "first": first,
        "last": last,
        "frames": b"".join(frame.data for frame in frames),
        "expireAt": expire_at,
    }
    if used is not None:
        data["used"] = used.to_json()
    return Create(batch_path(key, first), data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Consecutive frames of the log, as bytes, up to and with the number `last`."""

    last: int
    data: bytes


def read(store: Store, key: str, *, after: int) -> Iterator[Stored]:
    """What is stored with numbers above `after`, in order; ends with what is there now."""
    while True:
        found = store.query(
            Query(
                collection=f"{path_of(key)}/events",
                order="last",
                at_least=after + 1,
                limit=BATCHES_PER_READ,
            )
        )
        for document in found:
            yield _stored(document, after)
            after = document.data["last"]
        if len(found) < BATCHES_PER_READ:
            return


def _stored(document: Document, after: int) -> Stored:
    data: bytes = document.data["frames"]
    if document.data["first"] <= after:
        data = b"".join(f for f in frames_of(data) if frame_id(f) > after)
    return Stored(last=document.data["last"], data=data)


def frames_of(data: bytes) -> Iterator[bytes]:
    """Single frames; a blank line ends each, and no line inside one is blank."""
    for part in data.split(b"\n\n"):
        if part:
            yield part + b"\n\n"


def frame_id(frame: bytes) -> int:
    """The number of a frame: the first line that begins with `id`, which is before any data."""
    return int((b"\n" + frame).partition(b"\nid: ")[2].partition(b"\n")[0])


class Queries(Protocol):
    """A store, or a transaction of one."""

    def query(self, query: Query) -> list[Document]:
        """The documents found."""


def last_id(queries: Queries, key: str) -> int:
    """The highest number stored, 0 for an empty log."""
    found = _newest(queries, key)
    return int(found.data["last"]) if found else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Where a log ends: its highest number, 0 for an empty one, and what its turn had used."""

    last: int
    used: Usage


def tail(queries: Queries, key: str) -> Tail:
    """The end of a log."""
    found = _newest(queries, key)
    if found is None:
        return Tail(last=0, used=Usage())
    # A turn's last batch does not have it, so that it is not taken for the next one's.
    told = found.data.get("used")
    return Tail(
        last=found.data["last"], used=Usage.from_json(told) if told is not None else Usage()
    )


def last_frame(queries: Queries, key: str) -> bytes | None:
    """The newest frame stored; None for an empty log."""
    found = _newest(queries, key)
    if found is None:
        return None
    *_, newest = frames_of(found.data["frames"])
    return newest


def _newest(queries: Queries, key: str) -> Document | None:
    query = Query(collection=f"{path_of(key)}/events", order="last", descending=True, limit=1)
    return next(iter(queries.query(query)), None)
