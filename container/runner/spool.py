"""Bytes that wait on disk, first in, first out."""

import os
import tempfile
from typing import BinaryIO


class Spool:
    """A file without a name, made when it is first needed and emptied when all has been read."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._read = 0
        self._written = 0

    @property
    def waiting(self) -> int:
        """How many bytes there are to read."""
        return self._written - self._read

    def write(self, data: bytes) -> None:
        """Add `data` whole, or raise `OSError` (a full disk) and have added nothing."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="claude-run-spool-")  # noqa: SIM115 - `close`
        rest, offset = memoryview(data), self._written
        while rest:
            done = os.pwrite(self._file.fileno(), rest, offset)
            rest, offset = rest[done:], offset + done
        self._written = offset

    def read(self, size: int) -> bytes:
        """At most `size` of the oldest bytes; empty where there are none."""
        if self._file is None or not self.waiting:
            return b""
        data = os.pread(self._file.fileno(), min(size, self.waiting), self._read)
        self._read += len(data)
        if not self.waiting:
            self._file.truncate(0)
            self._read = self._written = 0
        return data

    def close(self) -> None:
        """Give the disk back; what waits is lost."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._read = self._written = 0
