"""What an engine's section of a recipe becomes as arguments of vLLM."""

from dataclasses import fields
from pathlib import Path

import pytest
from vllm.engine.arg_utils import AsyncEngineArgs

from character_ray.config import EngineConfig, ServeConfig, load_recipe
from character_ray.config.engines import OF_A_FIELD
from character_ray.errors import RecipeError
from character_ray.vllm_options import engine_kwargs

DEMO = Path(__file__).parents[2] / "jobs/recipes/demo-cpu.yaml"
ARGUMENTS = {field.name for field in fields(AsyncEngineArgs)}


@pytest.mark.parametrize(("argument", "field"), OF_A_FIELD.items())
def test_an_argument_with_a_field_of_its_own_is_not_passed_by_it(argument: str, field: str):
    with pytest.raises(
        RecipeError, match=rf"student_engine\.vllm.*{argument}=2 would pass by the recipe's own {field},"
    ):
        load_recipe(DEMO, [f"student_engine.vllm.{argument}=2"])
    assert argument in ARGUMENTS
    section, _, name = field.rpartition(".")
    assert name in (ServeConfig if section else EngineConfig).model_fields


@pytest.mark.parametrize("engine", [EngineConfig(device="cpu"), EngineConfig()], ids=["cpu", "gpu"])
def test_what_a_field_sets_is_known_to_have_one(engine: EngineConfig):
    without_field = {
        "enable_prefix_caching", "kv_cache_memory_bytes", "enable_chunked_prefill", "max_num_batched_tokens",
        "lora_target_modules", "worker_extension_cls",
    }  # fmt: skip
    assert set(engine_kwargs(engine, adapter_rank=8)) - without_field <= set(OF_A_FIELD)
