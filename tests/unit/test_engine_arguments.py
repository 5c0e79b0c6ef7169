"""What an engine's section of a recipe leaves to vLLM's own arguments."""

from pathlib import Path

import pytest

from character_ray.config import EngineConfig, ServeConfig, load_recipe
from character_ray.config.engines import OF_A_FIELD
from character_ray.errors import AdapterError, RecipeError
from character_ray.vllm_options import engine_kwargs

DEMO = Path(__file__).parents[2] / "jobs/recipes/demo-cpu.yaml"
WITHOUT_FIELD = {
    "enable_prefix_caching",
    "kv_cache_memory_bytes",
    "enable_chunked_prefill",
    "max_num_batched_tokens",
    "lora_target_modules",
    "distributed_executor_backend",
    "worker_extension_cls",
}


@pytest.mark.parametrize(("argument", "field"), OF_A_FIELD.items())
def test_an_argument_with_a_field_of_its_own_is_not_passed_by_it(argument: str, field: str):
    with pytest.raises(
        RecipeError, match=rf"student_engine\.vllm.*{argument}=2 would pass by the recipe's own {field},"
    ):
        load_recipe(DEMO, [f"student_engine.vllm.{argument}=2"])
    section, _, name = field.rpartition(".")
    assert name in (ServeConfig if section else EngineConfig).model_fields


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_whatever_a_field_sets_is_known_to_have_one(device):
    assert set(engine_kwargs(EngineConfig(device=device), adapter_rank=8)) - WITHOUT_FIELD <= set(OF_A_FIELD)


def test_adapters_are_not_applied_in_a_format_that_the_kernels_lack():
    with pytest.raises(AdapterError, match=r"dtype=float32 on a GPU: .*float16 and bfloat16 alone"):
        engine_kwargs(EngineConfig(dtype="float32"), adapter_rank=8)
    with pytest.raises(RecipeError, match="adapters=live with dtype=float32 on a GPU"):
        load_recipe(DEMO, [f"student_engine.{item}" for item in ("device=gpu", "dtype=float32", "adapters=live")])
    for usable in (EngineConfig(dtype="float32", device="cpu"), EngineConfig(dtype="bfloat16")):
        assert engine_kwargs(usable, adapter_rank=8)["enable_lora"]
    assert "enable_lora" not in engine_kwargs(EngineConfig(dtype="float32"))


def test_an_engine_of_one_worker_on_a_cpu_is_one_process():
    from vllm.utils.import_utils import resolve_obj_by_qualname
    from vllm.v1.executor import Executor

    one = engine_kwargs(EngineConfig(device="cpu"))["distributed_executor_backend"]
    assert issubclass(resolve_obj_by_qualname(one), Executor)
    for several in (EngineConfig(device="cpu", tensor_parallel=2), EngineConfig()):
        assert "distributed_executor_backend" not in engine_kwargs(several)
