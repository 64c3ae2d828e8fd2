"""When this deployment began: the start of its first instance that asked, kept for all of them."""

from collections.abc import Callable
from datetime import datetime

from gateway.store import AlreadyExistsError, Collection, Create, Store

COLLECTION = Collection(name="setup", expires=False, unindexed=("installations", "removed"))

_PATH = f"{COLLECTION.name}/deployment"


class Deployment:
    """Asks the store once. Safe under threads: whoever asks twice is told the same."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._here_since = clock()
        self._started_at: datetime | None = None

    def started_at(self) -> datetime:
        """The moment; `StoreUnavailableError` where nobody can say."""
        if self._started_at is None:
            self._started_at = self._read()
        return self._started_at

    def _read(self) -> datetime:
        found = self._store.get(_PATH)
        if found is None:
            try:
                self._store.write([Create(_PATH, {"at": self._here_since})])
            except AlreadyExistsError:
                return self._read()
            return self._here_since
        moment: datetime = found.data["at"]
        return moment
