"""Waiting for a store that cannot answer, for as long as a lease may still hold."""

import time
from collections.abc import Callable
from typing import TypeVar

from gateway.store import StoreUnavailableError

T = TypeVar("T")

# An unreachable store is tried again until our lease must have run out.
STORE_PATIENCE_SECONDS = 25.0
STORE_PAUSE_SECONDS = 0.5


def patiently(work: Callable[[], T]) -> T:
    """What `work` returns, tried again and again; it may have happened when it is tried again."""
    deadline = time.monotonic() + STORE_PATIENCE_SECONDS
    while True:
        try:
            return work()
        except StoreUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(STORE_PAUSE_SECONDS)
