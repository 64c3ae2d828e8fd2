"""What a turn keeps for the next one: its transcript, and its newest change set."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from claude_run.wire import Changes, TranscriptPart
from gateway.sessions import blobs
from gateway.sessions.patience import patiently
from gateway.sessions.record import RETENTION, Continuation, Session
from gateway.store import Delete, Put, Store, Write

# How long lines of the transcript may wait for more: each value kept is one more to read.
TRANSCRIPT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What is stored in one commit, and what the record names from then on."""

    writes: tuple[Write, ...] = ()
    named: Continuation = field(default_factory=Continuation)


NOTHING = Keeping()


class Keeper:
    """Of one turn, used by its driver alone; `now` is a monotonic time in seconds.

    What is given waits until its driver takes it and stores it with whatever else there is.
    """

    def __init__(self, store: Store, session: Session) -> None:
        self._store = store
        self._session = session
        self._named = Continuation()
        self._parts: list[Any] = []
        self._since = 0.0
        self._changes: Changes | None = None
        self._number = 0
        # Where the change set is that is named now; None: it is an earlier turn's.
        self._newest: Sequence[str] | None = None

    @property
    def named(self) -> Continuation:
        """What the record may name: it is stored."""
        return self._named

    def opened(self, runner_session: str | None) -> None:
        """The runner's name for the conversation."""
        self._named = replace(self._named, runner_session=runner_session)

    def add(self, part: TranscriptPart, now: float) -> None:
        """Lines of the transcript."""
        if not self._parts:
            self._since = now
        self._parts.append(part.model_dump(mode="json", by_alias=True))

    def change(self, changes: Changes) -> None:
        """A newer change set. It is due at once, and the transcript to which it belongs."""
        self._changes = changes
        self.hurry()

    def hurry(self) -> None:
        """Whatever waits is due."""
        self._since = float("-inf")

    def due(self, now: float) -> float | None:
        """Seconds until what waits has to be stored; None when nothing waits."""
        if self._changes is None and not self._parts:
            return None
        return max(0.0, self._since + TRANSCRIPT_SECONDS - now)

    def take(self, now: float) -> Keeping:
        """What is due, to be stored now; what no commit could hold is written ahead."""
        if self.due(now) != 0.0:
            return Keeping(named=self._named)
        writes: list[Write] = []
        if self._parts:
            writes += self._ahead(self._pieces("transcript", self._version(), self._parts))
            self._parts = []
        if self._changes is not None:
            writes += self._replaced(self._changes)
            self._changes = None
        return Keeping(writes=tuple(writes), named=self._named)

    def _replaced(self, changes: Changes) -> list[Write]:
        """The change set under a version of its own; the one before goes in the same commit."""
        value = changes.model_dump(mode="json", by_alias=True, exclude_none=True)
        value.setdefault("base", None)
        version = self._version()
        pieces = self._pieces("changes", version, value)
        before = self._earlier() if self._newest is None else self._newest
        self._newest = [piece.path for piece in pieces]
        self._named = replace(self._named, changes_version=version)
        return [*self._ahead(pieces), *(Delete(path) for path in before)]

    def _earlier(self) -> list[str]:
        version = self._session.changes_version
        if version is None:
            return []
        collection = f"{self._session.path}/changes"
        return patiently(lambda: blobs.paths(self._store, collection, prefix=version))

    def _version(self) -> str:
        """A name of its own for each value; they sort as they were kept."""
        self._number += 1
        return f"{self._session.turn:06d}-{self._number:08d}"

    def _pieces(self, kind: str, version: str, value: Any) -> list[Put]:  # noqa: ANN401 - any JSON value
        collection = f"{self._session.path}/{kind}"
        expire_at = self._session.created_at + RETENTION
        return blobs.pieces(collection, version, value, expire_at=expire_at)

    def _ahead(self, pieces: list[Put]) -> list[Put]:
        return patiently(lambda: blobs.write_ahead(self._store, pieces))
