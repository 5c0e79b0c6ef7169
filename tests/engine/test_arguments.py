"""How vLLM itself reads the arguments of an engine's section; none is started."""

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from character_ray.config import EngineConfig, ModelConfig
from character_ray.config.engines import OF_A_FIELD
from character_ray.models import resolve_model
from character_ray.vllm_options import engine_kwargs

if TYPE_CHECKING:
    from vllm.config import VllmConfig


def read_by_vllm(engine: EngineConfig) -> "VllmConfig":
    """What vLLM makes of the section for the embedded model."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    return AsyncEngineArgs(model=str(resolve_model(ModelConfig())), **engine_kwargs(engine)).create_engine_config()


def test_arguments_that_have_a_field_are_arguments_of_vllm():
    from vllm.engine.arg_utils import AsyncEngineArgs

    assert {field.name for field in fields(AsyncEngineArgs)} >= set(OF_A_FIELD)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_an_engine_split_into_pipeline_stages_is_one_to_vllm(device):
    parallel = read_by_vllm(EngineConfig(device=device, pipeline_parallel=2)).parallel_config
    assert (parallel.pipeline_parallel_size, parallel.tensor_parallel_size, parallel.world_size) == (2, 1, 2)


def test_a_teacher_in_fp8_is_one_to_vllm():
    read = read_by_vllm(EngineConfig(vllm={"quantization": "fp8", "kv_cache_dtype": "fp8"}))
    assert read.model_config.quantization == "fp8"
    assert type(read.quant_config).__name__ == "Fp8Config"
    assert read.cache_config.cache_dtype == "fp8"
    plain = read_by_vllm(EngineConfig())
    assert (plain.model_config.quantization, plain.quant_config, plain.cache_config.cache_dtype) == (None, None, "auto")


def test_lengths_and_widths_are_those_of_the_fields():
    read = read_by_vllm(EngineConfig(max_model_len=1024, max_num_seqs=7, gpu_memory_utilization=0.25))
    assert (read.model_config.max_model_len, read.scheduler_config.max_num_seqs) == (1024, 7)
    assert read.cache_config.gpu_memory_utilization == 0.25
    assert read.cache_config.enable_prefix_caching
