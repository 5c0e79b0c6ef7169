"""Tokens on their way to a client."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from character_ray.serving.pacing import StreamPacer, paced


async def tokens(number: int, pause_s: float = 0.0) -> AsyncIterator[int]:
    for token in range(number):
        await asyncio.sleep(pause_s)
        yield token


def test_every_token_arrives_once_and_in_order_at_any_pace() -> None:
    async def collect(pause_s: float, interval_s: float) -> list[list[int]]:
        return [batch async for batch in paced(tokens(50, pause_s), lambda: interval_s)]

    for pause_s in (0.0, 0.001):
        for interval_s in (0.0, 0.002, 0.02):
            batches = asyncio.run(collect(pause_s, interval_s))
            assert [token for batch in batches for token in batch] == list(range(50))
            assert all(batches)


def test_the_first_token_is_sent_before_the_second_exists() -> None:
    async def first() -> list[int]:
        never = asyncio.Event()

        async def one_then_none() -> AsyncIterator[int]:
            yield 7
            await never.wait()

        stream = paced(one_then_none(), lambda: 3600.0)
        batch = await anext(stream)
        await stream.aclose()
        return batch

    assert asyncio.run(first()) == [7]


def test_an_error_is_raised_after_what_came_before_it() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise ValueError("engine")

    async def collect() -> list[int]:
        got: list[int] = []
        with pytest.raises(ValueError, match="engine"):
            async for batch in paced(broken(), lambda: 0.001):
                got += batch
        return got

    assert asyncio.run(collect()) == [1, 2]


def test_an_abandoned_stream_ends_the_request_behind_it() -> None:
    ended: list[bool] = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                await asyncio.sleep(0)
                yield 1
        finally:
            ended.append(True)

    async def abandon() -> None:
        stream = paced(endless(), lambda: 0.0)
        await anext(stream)
        await stream.aclose()
        await asyncio.sleep(0)

    asyncio.run(abandon())
    assert ended == [True]


def test_streams_collect_the_longer_the_more_are_open() -> None:
    async def widths() -> tuple[float, float, int]:
        pacer = StreamPacer(messages_per_s=1000)
        streams = [pacer.stream(tokens(3)) for _ in range(100)]
        for stream in streams:
            await anext(stream)
        crowded = pacer.interval_s()
        for stream in streams[1:]:
            await stream.aclose()
        alone = pacer.interval_s()
        await streams[0].aclose()
        return crowded, alone, pacer.open

    assert asyncio.run(widths()) == (pytest.approx(0.1), pytest.approx(0.001), 0)
