"""From a recipe's engine section to vLLM's arguments, the same for batch generation and for serving."""

import os
from typing import Any

from character_ray.config import EngineConfig
from character_ray.config.evaluation import LARGEST_RANK, LORA_RANKS
from character_ray.errors import AdapterError

__all__ = ["engine_environment", "engine_kwargs", "lora_size"]

# By its path, since vLLM gives an engine on a CPU that names it "uni" a worker process of its own all the same, for that to bind its
# threads. The worker's start takes as long as the engine's, and the two then wait for each other's messages on cores that compute.
ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"

# Named on purpose: vLLM's default also wraps the output layer, which costs on every step and kills the CPU build on
# requests that ask for prompt log-probabilities.
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora_size(rank: int) -> int:
    """The smallest ``max_lora_rank`` of vLLM that holds an adapter of this rank.

    Raises:
        AdapterError: None does.
    """
    if rank > LARGEST_RANK:
        raise AdapterError(
            f"an adapter of rank {rank} cannot be applied live: vLLM holds ranks up to {LARGEST_RANK}. "
            "Recompress it (character-ray adapter combine --rank), or fold it into the base."
        )
    return next(size for size in LORA_RANKS if size >= rank)


def engine_kwargs(engine: EngineConfig, adapter_rank: int = 0, num_adapters: int = 1) -> dict[str, Any]:
    """The engine arguments of vLLM.

    Args:
        engine: The recipe's engine section.
        adapter_rank: ``max_lora_rank`` of live adapters; 0 for none.
        num_adapters: Adapters resident at once.

    Raises:
        AdapterError: Adapters are to be applied in a number format that vLLM's kernels do not know.
    """
    if adapter_rank and not engine.applies_adapters:
        raise AdapterError(
            f"adapters cannot be applied in dtype={engine.dtype} on a GPU: vLLM's kernels for them know float16 and bfloat16 alone. "
            "Set the engine section's dtype to one of the two."
        )
    kwargs: dict[str, Any] = {
        "dtype": engine.dtype,
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "tensor_parallel_size": engine.tensor_parallel,
        "pipeline_parallel_size": engine.pipeline_parallel,
        "enable_prefix_caching": True,
        "enforce_eager": engine.enforce_eager,
    }
    if engine.device == "cpu":
        kwargs["kv_cache_memory_bytes"] = int(engine.kv_cache_gib * 1024**3)
        # Chunked prefill of a request with a seed kills the CPU engine (0.29: "CPU Generator does not use offset").
        kwargs |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, engine.max_model_len)}
        if engine.tensor_parallel * engine.pipeline_parallel == 1:
            kwargs["distributed_executor_backend"] = ONE_PROCESS
    else:
        kwargs["gpu_memory_utilization"] = engine.gpu_memory_utilization
    if adapter_rank:
        kwargs |= {
            "enable_lora": True,
            "max_loras": num_adapters,
            "max_lora_rank": adapter_rank,
            "lora_target_modules": LORA_TARGETS,
        }
        # By name: vLLM imports it where the engine computes.
        kwargs["worker_extension_cls"] = (
            "character_ray.inference.cpu_lora.CPULoRA"
            if engine.device == "cpu"
            else "character_ray.inference.gpu_lora.GPULoRA"
        )
    return kwargs | engine.vllm


def engine_environment(engine: EngineConfig, *, alone: bool = True) -> dict[str, str]:
    """Environment of the process an engine runs in.

    Args:
        engine: The recipe's engine section.
        alone: Whether it is the only engine of its node, but for copies that the section itself asks for.
    """
    environment = {
        "VLLM_LOGGING_LEVEL": "WARNING",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    if engine.device == "cpu":
        environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(engine.cpus)}
        # An engine alone has the first cores to itself. Several would be bound to the same ones, so they are left to the system;
        # with one thread there is nothing to bind.
        if engine.cpus > 1 and engine.pool[1] == 1 and alone:
            cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[: engine.cpus]))
            environment |= {"VLLM_CPU_OMP_THREADS_BIND": cores, "OMP_PLACES": f"{{{cores}}}", "OMP_PROC_BIND": "true"}
    elif engine.lora_kernels is not None:
        environment["VLLM_TUNED_CONFIG_FOLDER"] = str(engine.lora_kernels.resolve())
    return environment
