"""Which model speaks, how it draws, and what its vLLM engine runs on."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from character_ray.config.base import Config, WaitsForNodes

__all__ = ["EngineConfig", "ModelConfig", "SamplingConfig"]

# Arguments of vLLM that say how much memory an engine may take, and nothing about what it writes.
OF_MEMORY = frozenset(
    {"kv_cache_memory_bytes", "num_gpu_blocks_override", "swap_space", "cpu_offload_gb", "max_num_batched_tokens"}
)


# Arguments of vLLM that a field of the recipe sets, by the name of that field: checks, plans and bookings read the field.
OF_A_FIELD = {
    "dtype": "dtype",
    "max_model_len": "max_model_len",
    "max_num_seqs": "max_num_seqs",
    "tensor_parallel_size": "tensor_parallel",
    "pipeline_parallel_size": "pipeline_parallel",
    "data_parallel_size": "replicas",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "enforce_eager": "enforce_eager",
    "enable_lora": "adapters",
    "max_loras": "serve.max_loras",
    "max_cpu_loras": "serve.max_cpu_loras",
    "max_lora_rank": "serve.max_lora_rank",
    "stream_interval": "serve.stream_interval",
}


class ModelConfig(Config):
    """A model by name: a packaged model, a local folder, or a hub id with its revision."""

    name: str = "smollm2-135m-instruct"
    """Packaged name, path of a folder, or hub id such as ``Qwen/Qwen3-4B-Instruct-2507``."""

    revision: str | None = None
    """Commit, tag or branch on the hub; pin a commit for a result that others must reproduce."""


class SamplingConfig(Config):
    """How completions are drawn."""

    temperature: float = Field(0.7, ge=0)
    """0 is greedy."""

    top_p: float = Field(0.9, gt=0, le=1)
    """Nucleus: the smallest set of tokens whose probabilities sum to this."""

    top_k: int = Field(0, ge=0)
    """Keep only this many tokens before ``top_p``; 0 keeps all. On a CPU a small value spares a costly sort."""

    max_tokens: int = Field(256, ge=1)
    """Length limit of one completion, in tokens."""

    repetition_penalty: float = Field(1.0, ge=1)
    """vLLM counts prompt tokens too, so a value above 1 suppresses the constitution's own vocabulary (pitfall: measured
    at 1.15, a teacher's markers fell from 0.94 to 0.22). Loops are removed by filters instead."""


class EngineConfig(WaitsForNodes):
    """One kind of vLLM engine and how many copies of it run side by side."""

    device: Literal["cpu", "gpu"] = "gpu"
    """``cpu`` needs vLLM's CPU build."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "bfloat16"
    """Number format of weights and activations."""

    replicas: int = Field(1, ge=1)
    """Engines side by side, over which the rows are spread."""

    max_replicas: int | None = Field(None, ge=1)
    """Let Ray Data add engines up to this number while rows wait and the cluster has room; ``None`` keeps ``replicas``."""

    tensor_parallel: int = Field(1, ge=1)
    """GPUs one engine splits every layer over."""

    pipeline_parallel: int = Field(1, ge=1)
    """Groups of GPUs one engine splits its layers over."""

    cpus: int = Field(2, ge=1)
    """Threads of one CPU engine; on a GPU, CPU cores reserved beside each GPU."""

    max_model_len: int = Field(4096, ge=64)
    """Longest prompt and completion together, in tokens; a model with a shorter context needs less."""

    max_num_seqs: int = Field(256, ge=1)
    """Sequences decoded at once. Passed on always: ray.data.llm caps requests in flight by it."""

    batch_size: int = Field(64, ge=1)
    """Rows handed to an engine at a time; also the grain at which finished rows are written."""

    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    """Share of a GPU's memory the engine may take."""

    keep: bool | None = None
    """Keep the engines of a run up between its passes and let them read the next weights, which takes seconds, instead of starting
    others. Meanwhile they hold their memory and, on a GPU, their share of it, which trainings and judges must leave free. By default on
    CPUs alone."""

    gpu_share: float = Field(1, gt=0, le=1)
    """Share of a GPU that a kept engine books; the rest is for trainings and judges. Lower ``gpu_memory_utilization`` with it."""

    kv_cache_gib: float = Field(1.0, gt=0)
    """Key-value cache of a CPU engine, in GiB."""

    enforce_eager: bool = False
    """Skip compilation and graph capture: starts sooner, decodes slower."""

    adapters: Literal["fold", "live"] = "fold"
    """How one adapter answers a whole generation: folded in float32 into a copy of the base (fast everywhere), or live as LoRA
    (no copy; right for models too large to copy)."""

    max_failed_share: float = Field(0.05, ge=0, le=1)
    """Share of a stage's rows that may fail before the run ends with the reasons by count."""

    lora_kernels: Path | None = None
    """Folder of block sizes for vLLM's LoRA kernels on this GPU, as ``benchmarks.tune_lora_kernels`` writes; vLLM's own without."""

    vllm: dict[str, Any] = Field(default_factory=dict)
    """Further vLLM engine arguments, passed through as they are: those without a field here or in ``serve``."""

    @field_validator("vllm")
    @classmethod
    def _check_further(cls, further: dict[str, Any]) -> dict[str, Any]:
        twice = [name for name in OF_A_FIELD if name in further]
        if twice:
            raise ValueError(
                f"{', '.join(f'{name}={further[name]!r}' for name in twice)} would pass by the recipe's own "
                f"{', '.join(OF_A_FIELD[name] for name in twice)}, which checks, plans and the booking of GPUs read. Set that instead."
            )
        return further

    @model_validator(mode="after")
    def _check_replicas(self) -> "EngineConfig":
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(
                f"max_replicas={self.max_replicas} is smaller than replicas={self.replicas}, the number to start with. "
                "Raise it, or leave it out."
            )
        return self

    @model_validator(mode="after")
    def _check_kept(self) -> "EngineConfig":
        if self.keep and self.max_replicas is not None:
            raise ValueError(
                f"keep=true holds {self.replicas} engines from pass to pass, and max_replicas={self.max_replicas} lets their number "
                "change. Leave one of the two out."
            )
        if self.device == "gpu" and self.gpu_share < 1 and not (self.is_kept and self.gpus_of_one == 1):
            raise ValueError(
                f"gpu_share={self.gpu_share:g} books part of one GPU for an engine that is kept on it, but this one "
                + (
                    "is not kept. Set keep=true"
                    if not self.is_kept
                    else f"runs on {self.gpus_of_one} GPUs. Lower tensor_parallel"
                )
                + ", or leave gpu_share out."
            )
        return self

    @model_validator(mode="after")
    def _check_live(self) -> "EngineConfig":
        if self.adapters == "live" and not self.applies_adapters:
            raise ValueError(
                "adapters=live with dtype=float32 on a GPU: vLLM's kernels for adapters know float16 and bfloat16 alone. "
                "Set dtype to one of them, or adapters=fold."
            )
        return self

    @property
    def applies_adapters(self) -> bool:
        """Whether vLLM can apply adapters to a step in this number format on this device."""
        return self.device == "cpu" or self.dtype != "float32"

    @property
    def numerics(self) -> str | list[Any]:
        """What the engine decides about the text: the number format, and vLLM's further arguments but those of memory alone."""
        deciding = {name: value for name, value in self.vllm.items() if name not in OF_MEMORY}
        return [self.dtype, deciding] if deciding else self.dtype

    @property
    def is_kept(self) -> bool:
        """Whether the engines stay up between the passes of a run."""
        return self.device == "cpu" and self.max_replicas is None if self.keep is None else self.keep

    @property
    def kept_gpus(self) -> float:
        """GPUs that the engines hold between passes."""
        return self.replicas * self.gpus_of_one_kept if self.is_kept else 0.0

    @property
    def gpus_of_one_kept(self) -> float:
        """GPUs that one kept engine books."""
        return self.gpus_of_one * self.gpu_share

    @property
    def pool(self) -> tuple[int, int]:
        """Fewest and most engines side by side."""
        return self.replicas, self.max_replicas or self.replicas

    @property
    def gpus(self) -> int:
        """GPUs of all replicas that are started together."""
        return self.replicas * self.gpus_of_one

    @property
    def gpus_of_one(self) -> int:
        """GPUs of one replica."""
        return 0 if self.device == "cpu" else self.tensor_parallel * self.pipeline_parallel
