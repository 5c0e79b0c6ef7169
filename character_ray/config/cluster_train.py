"""What the trainings run on: devices, workers, number formats and what makes a step faster."""

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from character_ray.config.base import WaitsForNodes

__all__ = ["ClusterTrainConfig"]

# Arguments of the trainers that let the number of workers decide which rows make a step.
DEALING = (
    "train_sampling_strategy",
    "dataloader_drop_last",
    "accelerator_config",
    "steps_per_generation",
    "generation_batch_size",
)


class ClusterTrainConfig(WaitsForNodes):
    """What Ray Train runs both stages on."""

    device: Literal["cpu", "gpu"] = "gpu"
    """Device of every worker."""

    workers: int = Field(1, ge=1)
    """Data-parallel workers; one GPU each, or ``cpus_per_worker`` cores each. Lost ones are replaced, or waited for, unless
    ``min_workers`` allows fewer."""

    min_workers: int | None = Field(None, ge=1)
    """Go on from the last checkpoint with fewer workers, but no fewer than these, where nodes have been missing for ``wait_for_nodes_s``:
    with as many as fit and divide a step's micro-batches (``batch_size`` / ``micro_batch_size``) evenly, so that every step keeps its
    rows. The weights are then those of an undisturbed run up to rounding, not to the last bit. For ``zero_stage`` 0. By default the number
    is fixed."""

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

    @model_validator(mode="after")
    def _check_min_workers(self) -> "ClusterTrainConfig":
        if self.min_workers is None:
            return self
        if self.min_workers > self.workers:
            raise ValueError(
                f"min_workers={self.min_workers} is more than workers={self.workers}, with which a training begins. Lower min_workers, or "
                "raise workers."
            )
        if self.zero_stage:
            raise ValueError(
                f"min_workers={self.min_workers} lets another number of workers go on from a checkpoint, but zero_stage={self.zero_stage} "
                "divides the optimizer's state in it among those that wrote it. Set zero_stage: 0, or leave min_workers out."
            )
        if dealing := [name for name in DEALING if name in self.trainer]:
            raise ValueError(
                f"min_workers={self.min_workers} needs steps of the same rows whatever the number of workers, but trainer sets "
                f"{', '.join(dealing)}, by which it decides them. Leave one of the two out."
            )
        return self

    @property
    def trainers_optimizer(self) -> list[str]:
        """What ``trainer`` says of the optimizer. If it says anything, the trainer makes it and DeepSpeed takes it as it is."""
        return [name for name in self.trainer if name == "optim" or name.startswith("optim_")]

    def numbers_of_workers(self, micro_batches: int) -> list[int]:
        """How many workers may train, the most first.

        Args:
            micro_batches: Of a step, over all workers; divided evenly.
        """
        least = self.min_workers or self.workers
        return [number for number in range(self.workers, least - 1, -1) if micro_batches % number == 0]

    def evened_over(self, micro_batches: int) -> int:
        """What the micro-batches of an epoch's last step are a multiple of, so that any of these numbers of workers divides it, too."""
        return math.lcm(*self.numbers_of_workers(micro_batches))

    def numerics(self, *micro_batches: int) -> dict[str, Any]:
        """What decides the weights that come out; of the further arguments those that are set.

        Args:
            micro_batches: Of a step, for each stage; fewer workers than ``workers`` may lengthen the last step of its epochs.
        """
        further = {name: given for name in ("deepspeed", "trainer", "model") if (given := getattr(self, name))}
        if self.min_workers is not None:
            evened = [self.evened_over(number) for number in micro_batches]
            further |= {"evened_over": evened} if any(number != self.workers for number in evened) else {}
        if self.zero_stage and self.trainers_optimizer:
            further["optimizer"] = "trainer"  # DeepSpeed once made AdamW whatever was asked for
        return self.model_dump(include={"precision", "workers", "zero_stage"}) | further

    @property
    def booked_gpus(self) -> float:
        """GPUs that the workers take while they work."""
        return self.gpus * self.gpu_share

    @property
    def needed_gpus(self) -> float:
        """GPUs without which no training begins; the workers take no more of each than they book."""
        return min(self.gpus, self.min_workers or self.gpus) * self.gpu_share

    @property
    def gpus(self) -> int:
        """GPUs of all workers together."""
        return self.workers if self.device == "gpu" else 0
