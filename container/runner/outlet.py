"""Between a run that produces and a client that reads: a buffer with a bound.

While more than HIGH_WATER waits, producers wait; the pipe behind them fills, and Claude Code
pauses. So a client that stops reading costs its own run's time and nobody's memory.
"""

import asyncio
from collections.abc import AsyncIterator

HIGH_WATER = 512 * 1024
PING_SECONDS = 15.0
PING = b": ping\n\n"


class Outlet:
    """Bytes in order, from several tasks to one reader."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._waiting = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._ended = False
        self._patient = True

    async def send(self, data: bytes) -> None:
        """Add `data`, then wait until the buffer is below its bound."""
        self._parts.append(data)
        self._waiting += len(data)
        self._filled.set()
        while self._waiting > HIGH_WATER and self._patient:
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

    async def chunks(self, *, ping_seconds: float = PING_SECONDS) -> AsyncIterator[bytes]:
        """All that was sent, as much at once as is there; a comment after each silence."""
        while True:
            if not self._parts:
                if self._ended:
                    return
                self._filled.clear()
                try:
                    await asyncio.wait_for(self._filled.wait(), ping_seconds)
                except TimeoutError:
                    yield PING
                continue
            parts, self._parts, self._waiting = self._parts, [], 0
            self._drained.set()
            yield b"".join(parts)
