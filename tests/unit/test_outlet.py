"""What waits for a client: in order, in bounded memory, on a disk that is given back."""

import asyncio
import os

import pytest

from runner import outlet
from runner.outlet import Outlet


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test soon reaches."""
    monkeypatch.setattr(outlet, "MEMORY_BYTES", 100)
    monkeypatch.setattr(outlet, "SPOOL_BYTES", 1_000)
    monkeypatch.setattr(outlet, "READ_BYTES", 64)


async def taken(buffer: Outlet) -> bytes:
    return b"".join([chunk async for chunk in buffer.chunks()])


def pieces(count: int) -> list[bytes]:
    return [b"%03d " % number for number in range(count)]


def test_the_order_stays_whatever_waits_where() -> None:
    """Read now and then, while it comes: from memory, from disk, and from memory again."""

    async def story() -> bytes:
        buffer, read = Outlet(), b""
        chunks = buffer.chunks()
        for number, piece in enumerate(pieces(900)):
            await buffer.send(piece)
            if number % 100 > 60:
                read += await anext(chunks)
            assert buffer._waiting <= outlet.MEMORY_BYTES
        buffer.end()
        read += b"".join([chunk async for chunk in chunks])
        buffer.close()
        return read

    assert asyncio.run(story()) == b"".join(pieces(900))


def test_who_sends_waits_when_the_disk_holds_enough() -> None:
    """Until the reader has taken some; at the end nobody waits, and nothing is lost."""

    async def story() -> None:
        buffer, sent = Outlet(), 0

        async def send() -> None:
            nonlocal sent
            for piece in pieces(500):
                await buffer.send(piece)
                sent += 1
            buffer.end()

        sending = asyncio.create_task(send())
        await asyncio.sleep(0.05)
        assert sent * 4 <= outlet.MEMORY_BYTES + outlet.SPOOL_BYTES
        assert sent * 4 > outlet.SPOOL_BYTES
        buffer.finish()
        await sending
        assert await taken(buffer) == b"".join(pieces(500))
        buffer.close()

    asyncio.run(story())


def test_a_piece_of_any_size_passes() -> None:
    """Alone in memory, behind others on disk."""

    async def story() -> bytes:
        buffer = Outlet()
        buffer.finish()
        for size in (5_000, 7_000):
            await buffer.send(b"x" * size)
        buffer.end()
        read = await taken(buffer)
        buffer.close()
        return read

    assert asyncio.run(story()) == b"x" * 12_000


def test_the_disk_is_given_back() -> None:
    """When all was read the file is empty; closed, it is gone. It never has a name."""

    async def story() -> None:
        buffer = Outlet()
        for piece in pieces(200):
            await buffer.send(piece)
        file = buffer._spool._file
        assert file is not None
        try:
            assert os.fstat(file.fileno()).st_nlink == 0
            assert os.fstat(file.fileno()).st_size > 0
            buffer.end()
            await taken(buffer)
            assert os.fstat(file.fileno()).st_size == 0
        finally:
            buffer.close()
        assert file.closed

    asyncio.run(story())
