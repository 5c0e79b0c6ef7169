"""Bare vLLM in its two forms, as what ours is measured beside: one call over all prompts, and the asynchronous engine."""

import asyncio
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from character_ray.config import EngineConfig
from character_ray.inference.turns import view_of
from character_ray.rows import Dialogue, Request, content_hash
from character_ray.vllm_options import engine_environment, engine_kwargs

__all__ = ["BARE", "Bare", "BareAsync", "encode_chats", "prompt_tokens"]


class Bare:
    """vLLM with our engine arguments, as its own documentation uses it."""

    def __init__(self, model: Path, engine: EngineConfig) -> None:
        os.environ.update(engine_environment(engine))
        from vllm import LLM

        self._llm = LLM(model=str(model), disable_log_stats=True, **engine_kwargs(engine))

    def close(self) -> None:
        """End the engine's process, so that the next arm has the machine to itself."""
        self._llm.llm_engine.engine_core.shutdown()

    def _say(self, chats: Sequence[Any], sampling: Sequence[dict[str, Any]]) -> list[Any]:
        from vllm import SamplingParams

        found = self._llm.chat(list(chats), [SamplingParams(**each) for each in sampling], use_tqdm=False)
        return [output.outputs[0] for output in found]

    def _encode(self, chats: Sequence[Any]) -> Sequence[Any]:
        return chats

    def complete(self, rows: Sequence[Request]) -> tuple[float, int]:
        """Wall seconds and tokens of one call over all rows."""
        prompts = self._encode([row["messages"] for row in rows])
        started = monotonic()
        said = self._say(prompts, [row["sampling"] for row in rows])
        return monotonic() - started, sum(len(each.token_ids) for each in said)

    def talk(self, rows: Sequence[Dialogue]) -> tuple[float, int]:
        """Wall seconds and turns of self-interaction, every conversation waiting for the slowest after each turn."""
        started = monotonic()
        turns = [[row["opening"]] for row in rows]
        for number in range(1, rows[0]["turns"]):
            chats = [view_of(number % 2, row["system"], said) for row, said in zip(rows, turns, strict=True)]
            seeds = [int(content_hash(f"{row['row_id']}-{number}"), 16) % 2**31 for row in rows]
            sampling = [row["sampling"] | {"seed": seed} for row, seed in zip(rows, seeds, strict=True)]
            for said, next_turn in zip(turns, self._say(self._encode(chats), sampling), strict=True):
                said.append(next_turn.text.strip())
        return monotonic() - started, sum(len(said) - 1 for said in turns)


class BareAsync(Bare):
    """vLLM's asynchronous engine, which answers whatever has come while more comes in."""

    def __init__(self, model: Path, engine: EngineConfig) -> None:
        os.environ.update(engine_environment(engine))
        from transformers import AutoTokenizer
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._loop = asyncio.new_event_loop()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        options = AsyncEngineArgs(model=str(model), disable_log_stats=True, **engine_kwargs(engine))

        async def start() -> Any:
            return AsyncLLM.from_engine_args(options)

        self._engine: Any = self._loop.run_until_complete(start())
        self._asked = itertools.count()

    def close(self) -> None:
        """End the engine's process."""
        self._engine.shutdown()
        # Its reader of answers is told to end, and must come to hear it.
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
        del self._engine  # which would shut down once more when Python ends, and then fail

    def _encode(self, chats: Sequence[Any]) -> Sequence[Any]:
        return encode_chats(self._tokenizer, chats)

    def _say(self, chats: Sequence[Any], sampling: Sequence[dict[str, Any]]) -> list[Any]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        async def one(ids: list[int], options: dict[str, Any]) -> Any:
            parameters = SamplingParams(**options, output_kind=RequestOutputKind.FINAL_ONLY)
            answers = self._engine.generate({"prompt_token_ids": ids}, parameters, str(next(self._asked)))
            return [answer async for answer in answers][-1].outputs[0]

        async def everything() -> list[Any]:
            return await asyncio.gather(*map(one, chats, sampling))

        return self._loop.run_until_complete(everything())


BARE: dict[str, type[Bare]] = {"chat": Bare, "async": BareAsync}


def encode_chats(tokenizer: Any, chats: Sequence[Any]) -> list[list[int]]:
    """Token ids of every chat, ready for an answer."""
    encoded = tokenizer.apply_chat_template(list(chats), add_generation_prompt=True, return_dict=True)
    return [list(ids) for ids in encoded["input_ids"]]


def prompt_tokens(model: Path, rows: Sequence[Request]) -> tuple[int, int]:
    """Prompt tokens of all rows, and those that no earlier row began with."""
    from transformers import AutoTokenizer

    begun: dict[int, Any] = {}
    every = distinct = 0
    for ids in encode_chats(AutoTokenizer.from_pretrained(model), [row["messages"] for row in rows]):
        node = begun
        for token in ids:
            every, distinct = every + 1, distinct + (token not in node)
            node = node.setdefault(token, {})
    return every, distinct
