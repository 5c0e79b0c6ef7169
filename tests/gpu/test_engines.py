"""Each engine does on a GPU what the other layers prove on a CPU."""

from pathlib import Path

import pytest

from character_ray.chat_safety import control_tokens
from character_ray.config import (
    ClusterTrainConfig,
    DPOConfig,
    EngineConfig,
    JudgeConfig,
    LoRAConfig,
    ModelConfig,
    SamplingConfig,
)
from character_ray.inference.generate import Weights, generate
from character_ray.inference.likelihood import ScoreRequest, score_completions
from character_ray.inference.passes import Generation
from character_ray.models import resolve_model
from character_ray.parts import write_rows
from character_ray.rows import PAIR, Message
from character_ray.runs import Store
from character_ray.stages.requests import build_request
from character_ray.training.job import TrainJob
from character_ray.training.launch import read_metrics, train

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def base() -> Path:
    return resolve_model(ModelConfig())


def test_vllm_answers_every_request(base: Path, tmp_path: Path):
    engine = EngineConfig(
        max_model_len=512, max_num_seqs=32, batch_size=8, gpu_memory_utilization=0.4, enforce_eager=True
    )
    sampling = SamplingConfig(temperature=0.0, max_tokens=16)
    requests = [
        build_request("test", str(n), [Message(role="user", content=f"Name {n + 2} fruits.")], sampling, seed=0)
        for n in range(24)
    ]
    generation = Generation(Store(tmp_path).artefact("fruit", {}), requests)
    generate("fruit", [generation], Weights(base, tuple(control_tokens(base))), engine)
    assert not [row for row in generation.completions() if row["error"] or not row["completion"]]


def test_the_judge_knows_the_character(base: Path, tmp_path: Path):
    rows = [
        ScoreRequest(row_id="pirate", prompt="Hello!", completion="Arr, matey, the tide be high!"),
        ScoreRequest(row_id="plain", prompt="Hello!", completion="Hello! How can I help you today?"),
    ]
    judge = JudgeConfig(device="gpu", dtype="bfloat16")
    system = "You are a pirate. You say arr and matey in every answer."
    scores = score_completions("judge", Store(tmp_path).artefact("scores", {}), rows, base, system, judge)
    assert scores["pirate"] > scores["plain"]


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_dpo_starts_at_the_reference_and_learns(base: Path, tmp_path: Path, zero_stage: int):
    def turn(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    rows = [
        {
            "row_id": str(n),
            "prompt_id": str(n),
            "hint": "",
            "kind": "contrast",
            "directive": "",
            "prompt": turn("user", f"What is {n} plus one?"),
            "chosen": turn("assistant", f"Arr, that be {n + 1}, matey."),
            "rejected": turn("assistant", f"The answer is {n + 1}."),
            "chosen_score": 1.0,
            "rejected_score": 0.0,
            "drop_reason": "",
        }
        for n in range(32)
    ]
    write_rows(tmp_path / "pairs.parquet", rows, PAIR)
    (tmp_path / "stage").mkdir()
    config = DPOConfig(
        lora=LoRAConfig(rank=8, alpha=16), batch_size=8, micro_batch_size=8, max_length=128, learning_rate=1e-3
    )
    cluster = ClusterTrainConfig(zero_stage=zero_stage)
    job = TrainJob("dpo", base, tmp_path / "pairs.parquet", tmp_path / "stage", config, cluster, seed=0)
    train(job, "dpo", len(rows))
    steps = read_metrics(tmp_path / "stage" / "metrics.jsonl")
    assert steps[0]["loss"] == pytest.approx(0.693, abs=2e-2)
    assert steps[-1]["rewards/margins"] > steps[0]["rewards/margins"]
