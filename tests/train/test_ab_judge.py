"""A chat model's verdict is that of its own next-token probabilities, whatever is read once for several pairs."""

import numpy as np
import pytest
import torch

from character_ray.config import JudgeConfig
from character_ray.inference.ab_judge import ABJudge
from character_ray.inference.kept_prefix import shared_beginning
from character_ray.judging.audit import SeatedPair

ROWS = [
    ("Hello there!", "Arr, matey.", "Hello! How can I help you today?"),
    ("Hello there!", "Arr, matey.", "Yes."),
    ("Hello there!", "Arr, matey.", "Arr, matey."),
    ("Hello there!", "Yes.", "Arr, {matey}."),
    ("\n 12 questions?", "It be Paris, since it be the largest port of letters in the land.", ""),
]


def batch(rows):
    columns = dict(zip(("prompt", "first", "second"), map(list, zip(*rows, strict=True)), strict=True))
    return {"row_id": list(map(str, range(len(rows))))} | columns


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_verdict_is_that_of_the_whole_chat_read_alone(tiny_base, attention):
    judge = ABJudge(str(tiny_base), "You are a pirate named {Jack}.", JudgeConfig(device="cpu"))
    judge._model.set_attn_implementation(attention)
    judge._shares = attention == "sdpa"
    expected = []
    for prompt, first, second in ROWS:
        ids = judge._ids(SeatedPair(row_id="", prompt=prompt, first=first, second=second))
        with torch.no_grad():
            logits = judge._model(torch.tensor([ids])).logits[0, -1].double()
        expected.append(float(logits[judge._letters].softmax(-1)[0]))
    assert len(np.unique(np.round(expected, 7))) == len(ROWS)
    for rows in (ROWS, ROWS[:1], ROWS[::-1], ROWS[1:3]):
        found = judge(batch(rows))["first_wins"]
        assert found == pytest.approx([expected[ROWS.index(row)] for row in rows], abs=1e-6)


def test_what_does_not_begin_with_the_kept_prefix_is_read_whole(tiny_base):
    judge = ABJudge(str(tiny_base), "You are a pirate.", JudgeConfig(device="cpu"))
    usual = judge(batch(ROWS))["first_wins"]
    judge._kept.ids[-1] += 1
    assert judge(batch(ROWS))["first_wins"] == pytest.approx(usual, abs=1e-6)


def test_the_character_is_in_the_prefix_that_is_read_once(tiny_base):
    judge = ABJudge(str(tiny_base), "You are a pirate.", JudgeConfig(device="cpu"))
    assert "You are a pirate.\n\nThe question:" in judge._tokenizer.decode(judge._kept.ids)


def test_how_many_tokens_sequences_share():
    assert shared_beginning([[1, 2, 3], [1, 2, 4], [1, 2]]) == 2
    assert shared_beginning([[1, 2, 3]]) == 3
    assert shared_beginning([[1], [2]]) == 0
