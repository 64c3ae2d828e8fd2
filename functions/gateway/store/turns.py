"""Threads of one process that want the same document wait here, in turn, not at the store.

Two transactions that have both read a document block each other's commit until Firestore gives
one of them up, seconds later. Between processes that is rare; between the threads of one, which
share a few documents of limits and quota, it would be the rule.
"""

import threading
from zlib import crc32

# More than a process has threads; two documents that share a lock wait needlessly, no more.
LOCKS = 128


class Turns:
    """A lock for each document, nearly."""

    def __init__(self) -> None:
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    def of(self, path: str) -> threading.Lock:
        """The lock that everybody takes who begins with this document.

        Only the first one of a transaction: who held several could wait for each other.
        """
        return self._locks[crc32(path.encode()) % LOCKS]
