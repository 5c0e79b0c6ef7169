"""Room for whole conversations in an engine's key-value cache.

A history that is evicted between two turns is read again at the next one, so no more conversations begin than the cache holds while they
last; single requests need not wait.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from character_ray.rows import Dialogue, Scripted

__all__ = ["CacheRoom", "cache_tokens", "tokens_of"]


class CacheRoom:
    """Tokens of a cache that conversations book before they begin."""

    def __init__(self, tokens: float) -> None:
        self._tokens = self._free = tokens
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def booked(self, tokens: int) -> AsyncIterator[None]:
        """While there is room for so many tokens; a conversation that is larger than the cache has it alone."""
        booked = min(tokens, self._tokens)
        async with self._changed:
            await self._changed.wait_for(lambda: self._free >= booked)
            self._free -= booked
        try:
            yield
        finally:
            async with self._changed:
                self._free += booked
                self._changed.notify_all()


def tokens_of(row: Dialogue | Scripted, max_model_len: int) -> int:
    """Tokens that a conversation keeps in the cache while it lasts, beside the system prompt, which all share.

    That is half of its last history, if every turn were as long as it may be: conversations advance independently, so some have begun where
    others end. Each side of a dialogue sees its own turns as the assistant's and the other's as the user's, so its history is there twice.
    """
    views = 1 if "lines" in row else 2
    each: int = row["sampling"].get("max_tokens", max_model_len)
    return math.ceil(views * min(row["turns"] * each, max_model_len) / 2)


def cache_tokens(engine: Any) -> float:
    """Tokens that the key-value cache of a vLLM engine holds; infinite where the engine does not say.

    Args:
        engine: An ``AsyncLLMEngine`` that has started.
    """
    cache = engine.vllm_config.cache_config
    # The first counts a hybrid model's groups of layers, too; older versions have the second alone.
    tokens = getattr(cache, "kv_cache_size_tokens", None) or (cache.num_gpu_blocks or 0) * (cache.block_size or 0)
    return float(tokens or math.inf)
