"""How many conversations an engine holds at once. The engine here is a stand-in that counts what is under way."""

import asyncio
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from character_ray.config import EngineConfig
from character_ray.inference.cache_room import CacheRoom, cache_tokens, tokens_of
from character_ray.inference.talker import Talker
from character_ray.inference.weights import Weights

WEIGHTS = Weights(Path("model"), ())
SAMPLING = {"max_tokens": 10}
TURNS = 4


def dialogue(number: int) -> dict:
    return {"row_id": f"d-{number}", "system": "Be.", "opening": "Ahoy.", "turns": TURNS, "sampling": SAMPLING}


def script(number: int) -> dict:
    return {"row_id": f"s-{number}", "context": [], "lines": ["Ahoy."] * 3, "turns": TURNS, "sampling": SAMPLING}


def request(number: int) -> dict:
    messages = [{"role": "user", "content": "Ahoy."}]
    return {"row_id": f"r-{number}", "prompt_id": "p", "sample": 0, "messages": messages, "sampling": SAMPLING}


class Counting(Talker):
    """Notes the conversations and requests that have begun and not ended."""

    def __init__(self, cache: float) -> None:
        self.cache, self.open, self.most, self.requests_beside = cache, set(), 0, 0
        super().__init__(WEIGHTS, EngineConfig(device="cpu"))

    def _start(self, weights: Weights) -> None:
        self._engine, self._weights, self._half_read = SimpleNamespace(errored=False), weights, False
        self._room = CacheRoom(self.cache)

    def _prompt(self, messages) -> list[int]:
        return [1]

    async def _generate(self, request_id, prompt, sampling):
        row, _, turn = request_id.rpartition("-")
        if row == "r":
            self.requests_beside += bool(self.open)
        else:
            self.open.add(row)
            self.most = max(self.most, len(self.open))
        await asyncio.sleep(0)
        if (row[0], turn) in (("d", "3"), ("s", "2")):
            self.open.discard(row)
        return SimpleNamespace(text="Aye, so I do.", token_ids=[1], finish_reason="stop")


def most_at_once(rows: list[dict], cache: float) -> Counting:
    talker = Counting(cache)
    answers = asyncio.run(talker.answer([json.dumps(row) for row in rows], WEIGHTS))
    assert [json.loads(answer)["error"] for answer in answers] == [""] * len(rows)
    return talker


@pytest.mark.parametrize(
    ("make", "cache", "most"), [(dialogue, 200, 5), (script, 200, 10), (dialogue, 25, 1), (dialogue, math.inf, 12)]
)
def test_no_more_conversations_begin_than_the_cache_holds_while_they_last(make, cache, most):
    assert most_at_once([make(number) for number in range(12)], cache).most == most


def test_single_requests_need_not_wait_for_conversations():
    talker = most_at_once([*map(dialogue, range(4)), *map(request, range(6))], 40)
    assert (talker.most, talker.requests_beside) == (1, 6)


def test_a_conversation_takes_no_more_than_the_context_for_each_of_its_sides():
    assert tokens_of(dialogue(0), max_model_len=4096) == TURNS * 10
    assert tokens_of(dialogue(0), max_model_len=32) == 32
    assert tokens_of(script(0), max_model_len=32) == 16


@pytest.mark.parametrize(
    ("cache", "tokens"),
    [
        ({"kv_cache_size_tokens": 1000, "num_gpu_blocks": 9, "block_size": 16}, 1000),
        ({"kv_cache_size_tokens": None, "num_gpu_blocks": 9, "block_size": 16}, 144),
        ({"num_gpu_blocks": 9, "block_size": 16}, 144),
        ({"num_gpu_blocks": None, "block_size": None}, math.inf),
    ],
)
def test_the_size_of_the_cache_is_what_the_engine_says_of_it(cache, tokens):
    engine = SimpleNamespace(vllm_config=SimpleNamespace(cache_config=SimpleNamespace(**cache)))
    assert cache_tokens(engine) == tokens
