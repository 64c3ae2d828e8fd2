"""The pipes between runner and agent: its input, by name or anonymous, and its output."""

import asyncio
import fcntl
import os
from contextlib import suppress
from pathlib import Path

READ_BYTES = 256 * 1024
# Claude Code writes every few deltas, thousands of times a second when a model is fast. Where one
# write follows another within DENSE_SECONDS we let them gather, and so does everybody after us.
DENSE_SECONDS = 0.003
GATHER_SECONDS = 0.005
# Linux gives 64 KiB unless asked; what gathers shall fit, so that the writer need not wait.
PIPE_BYTES = 1024 * 1024


def open_input(fifo: Path | None) -> tuple[int, int]:
    """Both ends of the agent's input: of a named pipe (made here, 0600) or of a plain one."""
    if fifo is None:
        return os.pipe()
    os.mkfifo(fifo, 0o600)
    # Opened without waiting for anybody: each end finds the other one open.
    read_end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_end = os.open(fifo, os.O_WRONLY)
    except OSError:
        os.close(read_end)
        raise
    os.set_blocking(read_end, True)
    return read_end, write_end


async def writer(write_end: int) -> asyncio.StreamWriter:
    """A writer that owns the descriptor."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(write_end, "wb", buffering=0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


class PipeReader:
    """Chunks of an agent's output, as few as there can be without a wait that anybody notices.

    asyncio's own reader takes every write of the agent as an event of its own; for 20,000 deltas
    that is most of the runner's work.
    """

    def __init__(self) -> None:
        self._fd, self.write_end = os.pipe()
        os.set_blocking(self._fd, False)
        self._dense = False
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # over the user's limit of pipe memory: smaller is slower only
                fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    async def read(self) -> bytes:
        """The next chunk; empty when every writer has closed."""
        if self._dense:
            await asyncio.sleep(GATHER_SECONDS)
        loop = asyncio.get_running_loop()
        asked = loop.time()
        while True:
            try:
                chunk = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                await self._readable(loop)
            else:
                self._dense = loop.time() - asked < DENSE_SECONDS
                return chunk

    async def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        readable = asyncio.Event()
        loop.add_reader(self._fd, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._fd)

    def close(self) -> None:
        """Close the reading end."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
