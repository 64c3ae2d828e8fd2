"""Installation tokens: one repository, one set of permissions each; kept until shortly before
their end.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.github.asked import RepositoryRef

# They last an hour. Whoever got one may use it for as long as this without asking again.
MARGIN = timedelta(minutes=5)
MAX_TOKENS = 256

Permissions = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One, and its end."""

    value: str = field(repr=False)
    expires_at: datetime


@dataclass(slots=True)
class _Place:
    """Where a token is kept; its lock is held while one is fetched, so that it is fetched once."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    token: Token | None = None


class Tokens:
    """Safe under threads. `fetch` asks GitHub for a new one, and raises what is ours."""

    def __init__(
        self,
        fetch: Callable[[RepositoryRef, Permissions], Token],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._places: OrderedDict[object, _Place] = OrderedDict()

    def token(self, repository: RepositoryRef, permissions: Permissions) -> str:
        """A token that is good for `MARGIN` at least."""
        place = self._place(repository, permissions)
        with place.lock:
            token = place.token
            if token is None or token.expires_at - self._clock() <= MARGIN:
                token = place.token = self._fetch(repository, permissions)
            return token.value

    def forget(self, repository: RepositoryRef, permissions: Permissions) -> None:
        """GitHub does not accept it any more: the next one is new."""
        with self._lock:
            self._places.pop(key_of(repository, permissions), None)

    def _place(self, repository: RepositoryRef, permissions: Permissions) -> _Place:
        key = key_of(repository, permissions)
        with self._lock:
            place = self._places.setdefault(key, _Place())
            self._places.move_to_end(key)
            if len(self._places) > MAX_TOKENS:
                self._places.popitem(last=False)
            return place


def key_of(repository: RepositoryRef, permissions: Permissions) -> object:
    """What a token is for."""
    return repository.installation_id, repository.id, frozenset(permissions.items())
