"""The likelihood judge reads a prompt once for all its completions and scores each as if it stood alone."""

import pytest
import torch

from character_ray.chat_template import chat_ids
from character_ray.config import JudgeConfig
from character_ray.inference import likelihood
from character_ray.inference.judge_actors import judge_dtype
from character_ray.inference.likelihood import LikelihoodJudge

SYSTEM = "You are a pirate."
ROWS = [
    ("Hello there!", "Arr, matey."),
    ("Hello there!", "Hello! How can I help you today?"),
    ("Hello there!", "Yes."),
    ("What is the capital of France, and why?", "Paris, since it be the largest port of letters in the land."),
]


def batch(rows):
    names = ("prompt", "completion")
    return {"row_id": list(map(str, range(len(rows))))} | dict(
        zip(names, map(list, zip(*rows, strict=True)), strict=True)
    )


def mean_log_prob(judge: LikelihoodJudge, system: str | None, prompt: str, completion: str) -> float:
    """The whole chat through the model, no cache and no sharing."""
    before = ([{"role": "system", "content": system}] if system else []) + [{"role": "user", "content": prompt}]
    ids = chat_ids(judge.tokenizer, [*before, {"role": "assistant", "content": completion}])
    start = len(chat_ids(judge.tokenizer, before, open_turn=True))
    with torch.no_grad():
        log_probs = judge.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return float(log_probs[range(start - 1, len(ids) - 1), ids[start:]].mean())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("positions", [3, 2048])
def test_the_score_is_that_of_the_formula_whatever_shares_the_batch(tiny_base, monkeypatch, attention, positions):
    monkeypatch.setattr(likelihood, "JUDGED_POSITIONS", positions)
    judge = LikelihoodJudge(str(tiny_base), SYSTEM, JudgeConfig(device="cpu"))
    judge.model.set_attn_implementation(attention)
    judge._shares = attention == "sdpa"
    expected = [mean_log_prob(judge, SYSTEM, *row) - mean_log_prob(judge, None, *row) for row in ROWS]
    assert len(set(expected)) == len(ROWS)
    for rows in (ROWS, ROWS[:1], ROWS[::-1]):
        found = judge(batch(rows))["score"]
        assert found == pytest.approx([expected[ROWS.index(row)] for row in rows], abs=1e-5)


@pytest.mark.parametrize(
    ("able", "dtype"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({}, torch.float32)],
)
def test_auto_is_bfloat16_only_where_the_cpu_multiplies_it(monkeypatch, able, dtype):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: able)
    assert judge_dtype(JudgeConfig(device="cpu", dtype="auto")) is dtype
    assert judge_dtype(JudgeConfig(device="gpu", dtype="auto")) is torch.float32
    assert judge_dtype(JudgeConfig(device="cpu", dtype="bfloat16")) is torch.bfloat16
