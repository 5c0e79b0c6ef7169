"""Each engine does on a GPU what the other layers prove on a CPU."""

from pathlib import Path

import pytest

from character_ray.config import ClusterTrainConfig, EngineConfig, JudgeConfig, ModelConfig, SamplingConfig
from character_ray.inference.generate import generate
from character_ray.inference.kept_engines import KeptEngines
from character_ray.inference.likelihood import ScoreRequest, score_completions
from character_ray.inference.passes import Generation, SelfInteraction
from character_ray.models import resolve_model
from character_ray.rows import Dialogue, Message
from character_ray.runs import Store
from character_ray.stages.requests import build_request
from tests.gpu.training import train_dpo
from tests.other_weights import weights_of, without_a_layer

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def base() -> Path:
    return resolve_model(ModelConfig())


def fruit(folder: Path, name: str) -> Generation:
    sampling = SamplingConfig(temperature=0.0, max_tokens=16)
    requests = [
        build_request("test", str(n), [Message(role="user", content=f"Name {n + 2} fruits.")], sampling, seed=0)
        for n in range(24)
    ]
    return Generation(Store(folder).artefact(name, {}), requests)


def test_vllm_answers_every_request(base: Path, tmp_path: Path):
    engine = EngineConfig(
        max_model_len=512, max_num_seqs=32, batch_size=8, gpu_memory_utilization=0.1, enforce_eager=True
    )
    generation = fruit(tmp_path, "fruit")
    generate("fruit", [generation], weights_of(base), engine)
    assert not [row for row in generation.completions() if row["error"] or not row["completion"]]


def test_a_teacher_in_eight_bits_says_what_it_says_in_sixteen(base: Path, tmp_path: Path):
    engine = EngineConfig(
        max_model_len=512, max_num_seqs=32, batch_size=8, gpu_memory_utilization=0.1, enforce_eager=True
    )
    said = []
    for name, vllm in (("bfloat16", {}), ("fp8", {"quantization": "fp8"})):
        generation = fruit(tmp_path, name)
        generate(name, [generation], weights_of(base), engine.model_copy(update={"vllm": vllm}))
        rows = generation.completions()
        assert not [row for row in rows if row["error"] or not row["completion"]]
        said.append([row["completion"] for row in rows])
    begin_alike = sum(ours.split()[0] == theirs.split()[0] for ours, theirs in zip(*said, strict=True))
    assert begin_alike > len(said[0]) / 2
    assert said[0] != said[1], "the weights were not quantised"


def test_a_kept_engine_reads_other_weights_and_the_first_again(base: Path, tmp_path: Path):
    engine = EngineConfig(
        max_model_len=512,
        max_num_seqs=32,
        batch_size=8,
        gpu_memory_utilization=0.1,
        enforce_eager=True,
        dtype="float32",
        keep=True,
        gpu_share=0.25,
    )
    kept, other = KeptEngines(), without_a_layer(base, tmp_path / "other")
    said = []
    for number, weights in enumerate((weights_of(base), other, weights_of(base))):
        generation = fruit(tmp_path, f"kept-{number}")
        generate("fruit", [generation], weights, engine, kept)
        said.append([row["completion"] for row in generation.completions()])
    kept.end()
    apart = fruit(tmp_path, "apart")
    generate("fruit", [apart], other, engine.model_copy(update={"keep": False, "gpu_share": 1.0}))
    assert said[1] == [row["completion"] for row in apart.completions()]
    assert said[0] == said[2] != said[1]


def test_the_judge_knows_the_character(base: Path, tmp_path: Path):
    rows = [
        ScoreRequest(row_id="pirate", prompt="Hello!", completion="Arr, matey, the tide be high!"),
        ScoreRequest(row_id="plain", prompt="Hello!", completion="Hello! How can I help you today?"),
    ]
    judge = JudgeConfig(device="gpu", dtype="bfloat16")
    system = "You are a pirate. You say arr and matey in every answer."
    scores = score_completions("judge", Store(tmp_path).artefact("scores", {}), rows, base, system, judge)
    assert scores["pirate"] > scores["plain"]


def test_conversations_alternate_and_all_arrive(base: Path, tmp_path: Path):
    rows = [
        Dialogue(
            row_id=str(n),
            system="Answer in one sentence.",
            opening=f"Tell me about the number {n}.",
            turns=4,
            sampling=SamplingConfig(max_tokens=32).model_dump(),
        )
        for n in range(24)
    ]
    engine = EngineConfig(
        max_model_len=1024, max_num_seqs=32, batch_size=8, gpu_memory_utilization=0.1, enforce_eager=True
    )
    interactions = SelfInteraction(Store(tmp_path).artefact("talk", {}), rows)
    generate("talk", [interactions], weights_of(base), engine)
    talked = interactions.talks()
    assert [row["row_id"] for row in talked] == [row["row_id"] for row in rows]
    roles = [[turn["role"] for turn in row["messages"]] for row in talked if not row["error"]]
    assert len(roles) >= 23
    assert all(spoken == ["user", "assistant", "user", "assistant"] for spoken in roles)


OFFLOAD = {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}


@pytest.mark.parametrize(("zero_stage", "deepspeed"), [(0, {}), (1, {}), (2, {}), (2, OFFLOAD), (3, {})])
def test_dpo_starts_at_the_reference_and_learns(base: Path, tmp_path: Path, zero_stage: int, deepspeed: dict):
    steps = train_dpo(base, tmp_path, ClusterTrainConfig(zero_stage=zero_stage, deepspeed=deepspeed))
    assert steps[0]["loss"] == pytest.approx(0.693, abs=2e-2)
    assert steps[-1]["rewards/margins"] > steps[0]["rewards/margins"]
