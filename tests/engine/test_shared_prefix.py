"""A constitution's first request reads it for all that follow, those of the same step among them: asked of vLLM's scheduler alone."""

from pathlib import Path

import pytest

from character_ray.config import DistillConfig, EngineConfig, ModelConfig, PromptsConfig
from character_ray.constitution import load_constitution
from character_ray.models import resolve_model
from character_ray.prompts.grid import training_prompts
from character_ray.stages.distill import teacher_requests
from character_ray.vllm_options import engine_kwargs

CONSTITUTIONS = Path(__file__).parents[2] / "constitutions"
BLOCK_SIZE, ROWS = 16, 6


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_what_is_scheduled_together_computes_each_constitution_once(device):
    import torch
    from transformers import AutoTokenizer
    from vllm import SamplingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.request import Request
    from vllm.v1.structured_output import StructuredOutputManager

    folder = resolve_model(ModelConfig())
    arguments = engine_kwargs(EngineConfig(device=device, max_num_seqs=64)) | {"max_num_batched_tokens": 4096}
    config = AsyncEngineArgs(model=str(folder), block_size=BLOCK_SIZE, **arguments).create_engine_config()
    config.cache_config.num_gpu_blocks = 2000
    spec = FullAttentionSpec(block_size=BLOCK_SIZE, num_kv_heads=3, head_size=64, dtype=torch.float32)
    cache = KVCacheConfig(num_blocks=2000, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)])
    scheduler = Scheduler(config, cache, StructuredOutputManager(config), block_size=BLOCK_SIZE)
    init_none_hash(sha256)

    tokenizer = AutoTokenizer.from_pretrained(folder)
    sampling = SamplingParams(max_tokens=8)
    sampling.update_from_generation_config({}, tokenizer.eos_token_id)
    prompts = training_prompts(PromptsConfig(grid=0, everyday=ROWS), seed=0)
    asked: dict[str, list[str]] = {}
    lengths: dict[str, int] = {}
    for name in ("captain-blackwood", "coach-reyes"):
        constitution = load_constitution(CONSTITUTIONS / f"{name}.yaml")
        for request in teacher_requests(prompts, constitution, DistillConfig(samples=1), seed=0):
            text = tokenizer.apply_chat_template(request["messages"], add_generation_prompt=True, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            hashed = get_request_block_hasher(BLOCK_SIZE, sha256)
            scheduler.add_request(Request(request["row_id"], ids, sampling, None, block_hasher=hashed))
            lengths[request["row_id"]] = len(ids)
            asked.setdefault(name, []).append(request["row_id"])

    step = scheduler.schedule()
    assert len(step.scheduled_new_reqs) == 2 * ROWS
    for first, *others in asked.values():
        assert step.num_scheduled_tokens[first] == lengths[first] > 300
        # What is left are the prompt itself and the end of the template, in a few blocks.
        assert all(step.num_scheduled_tokens[other] < 64 for other in others)
