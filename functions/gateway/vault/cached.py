"""Secrets read a moment ago: a request does not pay a round trip for each."""

import threading
import time
from collections.abc import Callable

from gateway.vault.interface import Vault

# So long a secret that was replaced or deleted elsewhere may still be used here.
CACHE_SECONDS = 10.0
MAX_NAMES = 64


class CachedVault:
    """A vault whose reads are remembered for seconds, an absent secret too."""

    def __init__(
        self,
        vault: Vault,
        *,
        seconds: float = CACHE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vault = vault
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, tuple[str, ...]]] = {}
        # Counts the writes from here: what was read before one is not remembered after it.
        self._generation = 0

    def __repr__(self) -> str:
        return f"CachedVault({self._vault!r})"

    def get(self, name: str) -> str | None:
        """The secret, or None."""
        return next(iter(self.get_all(name)), None)

    def get_all(self, name: str) -> tuple[str, ...]:
        """All values that are valid now, newest first."""
        with self._lock:
            known = self._found.get(name)
            generation = self._generation
        now = self._monotonic()
        if known is not None and now < known[0]:
            return known[1]
        values = self._vault.get_all(name)
        with self._lock:
            if generation == self._generation:
                if len(self._found) >= MAX_NAMES:
                    self._found.clear()
                self._found[name] = (now + self._seconds, values)
        return values

    def put(self, name: str, value: str, *, keep_previous: bool = False) -> None:
        """A new value, seen here at once."""
        try:
            self._vault.put(name, value, keep_previous=keep_previous)
        finally:
            self._forget(name)

    def delete(self, name: str) -> None:
        """No secret, here at once."""
        try:
            self._vault.delete(name)
        finally:
            self._forget(name)

    def _forget(self, name: str) -> None:
        with self._lock:
            self._found.pop(name, None)
            self._generation += 1
