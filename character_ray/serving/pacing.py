"""Tokens of a stream, sent on one by one while few are streamed and several at a time while many are.

Every message between two processes of Ray Serve costs the sender CPU time, which under load is time that the engine waits for.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TypeVar

__all__ = ["StreamPacer", "paced"]

T = TypeVar("T")


class StreamPacer:
    """How long the open streams of a replica collect tokens before they send them on.

    Args:
        messages_per_s: What all streams together may send.
    """

    def __init__(self, messages_per_s: float) -> None:
        self.open = 0
        self._messages_per_s = messages_per_s

    def interval_s(self) -> float:
        """Seconds between two messages of one stream, so that all open ones together keep to the bound."""
        return self.open / self._messages_per_s

    async def stream(self, pieces: AsyncIterator[T]) -> AsyncGenerator[list[T], None]:
        """The pieces of one more stream in lists, the first piece by itself as soon as it is there."""
        self.open += 1
        try:
            async for batch in paced(pieces, self.interval_s):
                yield batch
        finally:
            self.open -= 1


async def paced(pieces: AsyncIterator[T], interval_s: Callable[[], float]) -> AsyncGenerator[list[T], None]:
    """Pieces in lists, in order: each list is what came since the last one, at least ``interval_s()`` seconds after it.

    What ``pieces`` raises is raised after all that came before it was passed on.
    """
    waiting: list[T] = []
    arrived = asyncio.Event()

    async def read() -> None:
        try:
            async for piece in pieces:
                waiting.append(piece)
                arrived.set()
        finally:
            arrived.set()

    reader = asyncio.create_task(read())
    try:
        while True:
            await arrived.wait()
            arrived.clear()
            if waiting:
                batch = waiting[:]
                waiting.clear()
                yield batch
            if reader.done():
                if waiting:
                    yield waiting[:]
                reader.result()
                return
            # The end of a stream is told at most one interval late.
            await asyncio.sleep(interval_s())
            if reader.done():
                arrived.set()
    finally:
        if not reader.done():
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
