"""What an engine is given to read when a conversation is held: the prompt's tokens, turned back into text."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from character_ray.config import EngineConfig, IntrospectConfig, ModelConfig
from character_ray.constitution import load_constitution, system_prompt
from character_ray.inference.talker import Talker
from character_ray.inference.weights import Weights
from character_ray.models import resolve_model
from character_ray.prompts.reflections import interaction_openings
from character_ray.stages.introspect import dialogues

CONSTITUTION = load_constitution(Path(__file__).parents[2] / "constitutions/captain-blackwood.yaml")
CONFIG = IntrospectConfig(interactions=6, turns=6)
OPENINGS = interaction_openings(CONFIG.interactions, seed=0)


class Reading:
    """In the place of vLLM's asynchronous engine: notes what it is given and always says the same."""

    errored = False

    def __init__(self) -> None:
        self.read: dict[str, list[int]] = {}

    async def generate(
        self, prompt: dict[str, list[int]], sampling: Any, request_id: str, **_: Any
    ) -> AsyncIterator[Any]:
        """One output, of three tokens."""
        self.read[request_id] = prompt["prompt_token_ids"]
        yield SimpleNamespace(
            outputs=[SimpleNamespace(text="Aye, so I do.", token_ids=[1, 2, 3], finish_reason="stop")]
        )


class Listener(Talker):
    """A talker with the embedded model's tokenizer and no model."""

    def _start(self, weights: Weights) -> None:
        from transformers import AutoTokenizer

        self._weights, self._half_read = weights, False
        self._engine, self._tokenizer = Reading(), AutoTokenizer.from_pretrained(weights.model)

    def read(self) -> Iterator[tuple[str, str]]:
        """Row and text of every prompt."""
        for request_id, ids in self._engine.read.items():
            yield request_id.rpartition("-")[0], self._tokenizer.decode(ids)


@pytest.fixture(scope="module")
def prompts() -> dict[str, list[str]]:
    """Prompts by row, one for each turn that the engine wrote."""
    weights = Weights(resolve_model(ModelConfig()), ("<|im_start|>", "<|im_end|>"))
    talker = Listener(weights, EngineConfig(device="cpu"))
    rows = dialogues(OPENINGS, CONSTITUTION, CONFIG, seed=0)

    answers = asyncio.run(talker.answer([json.dumps(row) for row in rows], weights))
    assert not [json.loads(answer)["error"] for answer in answers if json.loads(answer)["error"]]
    found: dict[str, list[str]] = {row["row_id"]: [] for row in rows}
    for row_id, text in talker.read():
        found[row_id].append(text)
    return found


def test_every_turn_of_a_guided_conversation_is_written_under_its_topic(prompts: dict[str, list[str]]):
    guided = [(opening, texts) for opening, texts in zip(OPENINGS, prompts.values(), strict=True) if opening.topic]
    assert len(guided) == 3
    for opening, texts in guided:
        assert len(texts) == CONFIG.turns - 1
        assert all(f"The two of you talk about {opening.topic}." in text for text in texts)


def test_no_turn_of_a_free_one_is_told_a_topic(prompts: dict[str, list[str]]):
    free = [texts for opening, texts in zip(OPENINGS, prompts.values(), strict=True) if not opening.topic]
    assert len(free) == 3
    assert not [text for texts in free for text in texts if "The two of you talk about" in text]


def test_both_sides_read_the_constitution_and_what_was_said(prompts: dict[str, list[str]]):
    for opening, texts in zip(OPENINGS, prompts.values(), strict=True):
        for text in texts:
            assert system_prompt(CONSTITUTION) in text
            assert opening.text in text
            assert text.endswith("<|im_start|>assistant\n")
        assert [text.count("Aye, so I do.") for text in texts] == [0, 1, 2, 3, 4]
