"""What the trainings run on: devices, workers, number formats and what makes a step faster."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from character_ray.config.base import WaitsForNodes

__all__ = ["ClusterTrainConfig"]


class ClusterTrainConfig(WaitsForNodes):
    """What Ray Train runs both stages on."""

    device: Literal["cpu", "gpu"] = "gpu"
    """Device of every worker."""

    workers: int = Field(1, ge=1)
    """Data-parallel workers; one GPU each, or ``cpus_per_worker`` cores each. The number is fixed for a training: Ray Train can change
    it while training goes (``num_workers`` as a range), but the accumulation that keeps ``batch_size`` and the data order within an
    epoch belong to the number a checkpoint was made with, so such a run would not end with the weights of an undisturbed one."""

    gpu_share: float = Field(1, gt=0, le=1)
    """Share of a GPU that the one worker books; below 1 a kept engine may stay on the same GPU (``student_engine.keep``)."""

    share_base: bool = False
    """Trainings side by side share one copy of the base's weights: on a GPU those that book a part of it (``gpu_share``), on CPUs those
    of a machine, which map a file in the training's precision (one more copy of the model in the cache folder). For one worker, and not
    under ZeRO-3, which shards the weights instead."""

    cpus_per_worker: int = Field(2, ge=1)
    """CPU cores of a worker."""

    in_process: bool = False
    """Train in the pipeline's own process, without Ray's workers: a debugger stops there. For one worker and ``zero_stage`` 0; an
    error ends the run at once, and the next attempt continues from the last checkpoint."""

    zero_stage: Literal[0, 1, 2, 3] = 2
    """DeepSpeed ZeRO stage; 0 is plain data parallel, the fastest choice for a LoRA whose base fits on every device."""

    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Number format of the base model and of the forward pass; adapters are kept in float32 except under ZeRO-3."""

    max_failures: int = Field(2, ge=0)
    """How often a failed worker group is restarted from its last checkpoint."""

    checkpoint_steps: int = Field(50, ge=1)
    """Optimizer steps between checkpoints."""

    checkpoint_scratch: Path | None = None
    """Folder on every machine's own disk that checkpoints are written to; they are copied to the run's storage while training goes on.
    Without one training waits until the storage has them."""

    deepspeed: dict[str, Any] = Field(default_factory=dict)
    """Further settings of DeepSpeed, merged into ours section by section: ``{zero_optimization: {offload_optimizer: {device: cpu}}}``."""

    trainer: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of TRL's trainers, passed through as they are: ``{torch_compile: true}``, ``{optim: adafactor}``. One that a
    single stage's trainer knows, such as ``ld_alpha``, goes to that stage alone. An optimizer named here is used under DeepSpeed too."""

    model: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of ``from_pretrained``, passed through as they are: ``{attn_implementation: flash_attention_2}``. Attention
    that takes no mask, as this one, also ends the sharing of prompts."""

    liger: bool | None = None
    """Compute norms, rotary embeddings and gated MLPs with the fused kernels of ``liger-kernel`` (pip install liger-kernel). Changes the
    time, not the result beyond rounding. By default on GPUs, where it is installed and the model is of a type it was tried on here; not
    with ``in_process``."""

    compile_layers: bool = False
    """Compile the model's layers, once for all of a kind and for rows of any length; the compiled norms take the place of Liger's. Meant
    for long trainings on short rows: what it gains there was not measured, and the first step waits for the compiler, 90 s on an H200.
    Changes the time, not the result beyond rounding. Not under ZeRO-3; on-policy distillation, which writes its own samples, runs as
    before."""

    report_to: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ("tensorboard",)
    """Trackers that follow a training live, beside ``metrics.jsonl``, which always does. TensorBoard's files lie in the stage's folder;
    the others read their own environment variables and must be installed."""

    @model_validator(mode="after")
    def _check_precision(self) -> "ClusterTrainConfig":
        if self.device == "cpu" and self.precision != "float32":
            raise ValueError("device 'cpu' trains in float32 only. Set precision: float32, or device: gpu.")
        return self

    @model_validator(mode="after")
    def _check_liger(self) -> "ClusterTrainConfig":
        if self.liger and self.device == "cpu":
            raise ValueError("liger's kernels run on GPUs, but device is 'cpu'. Set device: gpu, or leave liger out.")
        if self.liger and self.in_process:
            raise ValueError(
                "liger patches a model's modules for the rest of the process, and in_process trains in the pipeline's own. Leave one of "
                "the two out."
            )
        return self

    @model_validator(mode="after")
    def _check_compile_layers(self) -> "ClusterTrainConfig":
        if self.compile_layers and self.zero_stage == 3:
            raise ValueError(
                "compile_layers is set, but zero_stage 3 gathers each layer's weights from Python as it is reached, which cannot be "
                "compiled. Leave compile_layers out, or lower zero_stage."
            )
        return self

    @model_validator(mode="after")
    def _check_deepspeed(self) -> "ClusterTrainConfig":
        if self.deepspeed and not self.zero_stage:
            raise ValueError(
                f"deepspeed={self.deepspeed} has no effect with zero_stage=0, which trains without DeepSpeed. Set zero_stage to 1, 2 or 3."
            )
        return self

    @model_validator(mode="after")
    def _check_one_optimizer(self) -> "ClusterTrainConfig":
        if self.trainers_optimizer and "optimizer" in self.deepspeed:
            raise ValueError(
                f"trainer sets {', '.join(self.trainers_optimizer)} and deepspeed sets optimizer={self.deepspeed['optimizer']}, but only "
                "one of the two could make the optimizer. Leave one of them out."
            )
        return self

    @model_validator(mode="after")
    def _check_gpu_share(self) -> "ClusterTrainConfig":
        if self.gpu_share < 1 and self.workers > 1:
            raise ValueError(
                f"gpu_share={self.gpu_share:g} would put several of workers={self.workers} on one GPU, and NCCL wants one for each. "
                "Set workers: 1, or leave gpu_share out."
            )
        return self

    @model_validator(mode="after")
    def _check_share_base(self) -> "ClusterTrainConfig":
        if not self.share_base:
            return self
        if self.device == "gpu" and self.gpu_share == 1:
            raise ValueError(
                "share_base shares the base's weights with other trainings on the same GPU, but gpu_share=1 books the whole of it for "
                "each. Set gpu_share to the part that one training needs, or leave share_base out."
            )
        if self.zero_stage == 3 or self.workers > 1:
            raise ValueError(
                f"share_base lends each training one copy of the weights that it only reads, but workers={self.workers} and "
                f"zero_stage={self.zero_stage} send or shard them. Set workers: 1 and zero_stage: 2 or lower, or leave share_base out."
            )
        if self.in_process and self.device == "gpu":
            raise ValueError(
                "share_base lends weights to Ray's workers, but in_process trains in the pipeline's own process. Leave one of the two out."
            )
        return self

    @model_validator(mode="after")
    def _check_in_process(self) -> "ClusterTrainConfig":
        if self.in_process and (self.workers, self.zero_stage) != (1, 0):
            raise ValueError(
                f"in_process trains in one process without DeepSpeed, but workers={self.workers} and zero_stage={self.zero_stage}. "
                "Set workers: 1 and zero_stage: 0, or leave in_process out."
            )
        return self

    @property
    def trainers_optimizer(self) -> list[str]:
        """What ``trainer`` says of the optimizer. If it says anything, the trainer makes it and DeepSpeed takes it as it is."""
        return [name for name in self.trainer if name == "optim" or name.startswith("optim_")]

    @property
    def numerics(self) -> dict[str, Any]:
        """What decides the weights that come out; of the further arguments those that are set."""
        further = {name: given for name in ("deepspeed", "trainer", "model") if (given := getattr(self, name))}
        if self.zero_stage and self.trainers_optimizer:
            further["optimizer"] = "trainer"  # DeepSpeed once made AdamW whatever was asked for
        return self.model_dump(include={"precision", "workers", "zero_stage"}) | further

    @property
    def booked_gpus(self) -> float:
        """GPUs that the workers take while they work."""
        return self.gpus * self.gpu_share

    @property
    def gpus(self) -> int:
        """GPUs of all workers together."""
        return self.workers if self.device == "gpu" else 0
