"""Two answers at once, as lines of JSON in the order in which their pieces come."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any

__all__ = ["Pieces", "interleave", "to_line"]

Pieces = Callable[[], AsyncIterator[str]]


def to_line(**event: Any) -> str:
    """One event."""
    return json.dumps(event, ensure_ascii=False) + "\n"


async def interleave(sources: Mapping[str, Pieces]) -> AsyncIterator[tuple[str, str | Exception | None]]:
    """``(name, piece)`` as pieces come, ``(name, None)`` when one ends, ``(name, exception)`` when one fails.

    Whoever stops listening stops the sources.
    """
    queue: asyncio.Queue[tuple[str, str | Exception | None]] = asyncio.Queue(maxsize=256)

    async def follow(name: str, pieces: Pieces) -> None:
        try:
            async for piece in pieces():
                await queue.put((name, piece))
            await queue.put((name, None))
        except Exception as error:
            await queue.put((name, error))

    tasks = [asyncio.create_task(follow(name, pieces)) for name, pieces in sources.items()]
    open_sources = len(tasks)
    try:
        while open_sources:
            name, piece = await queue.get()
            open_sources -= not isinstance(piece, str)
            yield name, piece
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
