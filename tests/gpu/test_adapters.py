"""Adapters side by side in one engine answer as each does alone."""

from pathlib import Path

import pytest

from benchmarks.random_adapters import write_adapters
from character_ray.config import EngineConfig, ModelConfig, Recipe
from character_ray.models import resolve_model
from character_ray.vllm_options import engine_kwargs

pytestmark = pytest.mark.gpu

ADAPTERS, RANK = 3, 16


def test_a_mixed_step_gives_every_request_its_own_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # CUDA may be at work in this process already
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    base = resolve_model(ModelConfig())
    engine = EngineConfig(
        dtype="float16", max_model_len=1024, max_num_seqs=16, gpu_memory_utilization=0.1, vllm={"max_logprobs": 1}
    )
    recipe = Recipe(name="mixed", constitution=Path("constitutions/captain-blackwood.yaml"), student_engine=engine)
    folders = write_adapters(base, tmp_path, ADAPTERS, RANK, recipe)
    requests = [LoRARequest(folder.name, n + 1, str(folder)) for n, folder in enumerate(folders)]
    llm = LLM(str(base), **engine_kwargs(engine, RANK, ADAPTERS))
    prompts = [f"Tell me about the number {n}." for n in range(16)]
    whose = [(*requests, None)[(5 * n) % (ADAPTERS + 1)] for n in range(len(prompts))]
    sampling = SamplingParams(temperature=0.0, max_tokens=1, logprobs=1)

    def likelihoods(prompts: list[str], whose: list[LoRARequest | None]) -> list[float]:
        """Of the likeliest first token."""
        answers = llm.generate(prompts, sampling, lora_request=whose, use_tqdm=False)
        return [answer.outputs[0].cumulative_logprob for answer in answers]

    mixed = likelihoods(prompts, whose)
    alone = [likelihoods([prompt], [adapter])[0] for prompt, adapter in zip(prompts, whose, strict=True)]
    plain = likelihoods(prompts, [None] * len(prompts))
    # What rounding to float16 may do, beside what an adapter does: in float32 each moves some first token by more than 0.2 nats.
    assert mixed == pytest.approx(alone, abs=0.03)
    moved = [abs(with_it - without) for with_it, without in zip(mixed, plain, strict=True)]
    for adapter in requests:
        assert max(by for by, whom in zip(moved, whose, strict=True) if whom is adapter) > 0.1
    assert max(by for by, whom in zip(moved, whose, strict=True) if whom is None) < 0.03
