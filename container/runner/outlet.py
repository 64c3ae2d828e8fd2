"""Between a run that produces and a client that reads: a buffer with a bound.

A client that stops reading costs its own run's time and disk, and nobody's memory: what is over
MEMORY_BYTES waits on disk. With SPOOL_BYTES there the producers wait too, the pipe behind them
fills, and Claude Code pauses. Not before: at its end Claude Code gives its reader some seconds and
then drops what it has not written yet, with exit status 0 ("stdout drain timeout", 2.1.330).
"""

import asyncio
from collections.abc import AsyncIterator

from claude_run.sse import PING
from runner.spool import Spool

MEMORY_BYTES = 512 * 1024
SPOOL_BYTES = 256 * 1024**2
READ_BYTES = 256 * 1024
PING_SECONDS = 15.0


class Outlet:
    """Bytes in order, from several tasks to one reader. `close` it."""

    def __init__(self) -> None:
        self.taken = 0  # bytes that the reader has had
        self._parts: list[bytes] = []
        self._waiting = 0
        self._spool = Spool()
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._ended = False
        self._patient = True

    async def send(self, data: bytes) -> None:
        """Add `data`, then wait until the buffer is below its bound."""
        # Behind what is on disk everything goes to disk: the order stays.
        if self._spool.waiting or (self._parts and self._waiting + len(data) > MEMORY_BYTES):
            self._spool.write(data)
        else:
            self._parts.append(data)
            self._waiting += len(data)
        self._filled.set()
        while self._spool.waiting > SPOOL_BYTES and self._patient:
            self._drained.clear()
            await self._drained.wait()

    def finish(self) -> None:
        """The run is over: the few events that are left are taken at once, without a wait."""
        self._patient = False
        self._drained.set()

    def end(self) -> None:
        """Nothing comes any more."""
        self._ended = True
        self._filled.set()

    def close(self) -> None:
        """Nobody reads any more."""
        self._spool.close()

    async def chunks(self, *, ping_seconds: float = PING_SECONDS) -> AsyncIterator[bytes]:
        """All that was sent, as much at once as is there; a comment after each silence."""
        while True:
            if chunk := self._take():
                self._drained.set()
                yield chunk
                self.taken += len(chunk)
                continue
            if self._ended:
                return
            self._filled.clear()
            try:
                await asyncio.wait_for(self._filled.wait(), ping_seconds)
            except TimeoutError:
                yield PING

    def _take(self) -> bytes:
        if not self._parts:
            return self._spool.read(READ_BYTES)
        parts, self._parts, self._waiting = self._parts, [], 0
        return b"".join(parts)
