"""Ray's vLLM engine with its worker in the engine's own process, where one worker is all there is."""

from typing import TYPE_CHECKING, Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.engine.arg_utils import AsyncEngineArgs

__all__ = ["OneWorkerEngine"]


class OneWorkerEngine(VLLMEngine):
    """For an engine on a CPU, for which Ray asks vLLM for a worker process even when there is one.

    The two wait for each other's messages without giving up their cores, which on a small machine is what the front would need.
    """

    def _start_async_llm_engine(
        self, vllm_engine_args: "AsyncEngineArgs", vllm_engine_config: "VllmConfig", placement_group: Any
    ) -> Any:
        vllm_engine_config.parallel_config.distributed_executor_backend = "uni"
        return super()._start_async_llm_engine(vllm_engine_args, vllm_engine_config, placement_group)
