"""How the two adapters are trained and on what."""

import importlib.util
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from character_ray.config.base import Config, WaitsForNodes
from character_ray.config.watch import WatchConfig

__all__ = [
    "ClusterTrainConfig",
    "DPOConfig",
    "LoRAConfig",
    "OnPolicyConfig",
    "SFTConfig",
    "TrainingConfig",
]

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

# Losses that need a share of labels the wrong way round, and the one that their authors use.
SMOOTHED = {"robust": 0.1, "exo_pair": 0.001}
# Losses that compare sorted log-ratios of several pairs; they may reckon with such a share, too.
SORTED = ("aot", "aot_unpaired")


class LoRAConfig(Config):
    """The low-rank update trained on top of the frozen base model."""

    rank: int = Field(32, ge=1)
    """Rank of the update. The served adapter has the sum of both stages' ranks."""

    alpha: int = Field(64, ge=1)
    """Scale: the update is multiplied by ``alpha / rank``."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""

    target_modules: tuple[str, ...] = ALL_LINEAR
    """Layers that get an update: by default every linear layer but the output layer."""


class OnPolicyConfig(Config):
    """How the student's own samples are corrected."""

    samples: int = Field(1, ge=1)
    """Samples of the student per prompt and pass; ``batch_size`` counts samples."""

    max_tokens: int = Field(128, ge=1)
    """Longest sample, in tokens."""

    temperature: float = Field(1.0, gt=0)
    """Of the student's sampling and of both distributions compared."""

    top_k: int | None = Field(None, ge=1)
    """Compare the student's likeliest tokens and one bucket for all others, instead of the whole vocabulary: less memory, a slightly
    smaller divergence."""


class TrainingConfig(Config):
    """What both stages share."""

    lora: LoRAConfig = LoRAConfig()
    """The adapter."""

    learning_rate: float = Field(1e-4, gt=0)
    """Peak learning rate of AdamW."""

    batch_size: int = Field(16, ge=1)
    """Examples (pairs or conversations) per optimizer step, over all workers."""

    micro_batch_size: int = Field(4, ge=1)
    """Examples per forward pass of one worker; the rest of the batch is accumulated."""

    epochs: float = Field(1.0, gt=0)
    """Passes over the data."""

    max_length: int = Field(1024, ge=16)
    """Longest example, in tokens; longer ones are cut at the end."""

    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Share of the steps over which the learning rate rises from 0."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Course of the learning rate after the warm-up; ``cosine`` ends at a tenth of the peak."""

    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are clipped to this norm."""

    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more work."""

    watch: WatchConfig | None = None
    """Follow drift, character and repetition as training goes; ``{}`` takes the defaults, leaving it out costs nothing."""


class DPOConfig(TrainingConfig):
    """Distillation: direct preference optimisation on the pairs, or on-policy distillation on their prompts."""

    algorithm: Literal["dpo", "on_policy"] = "dpo"
    """``dpo`` learns from the pairs. ``on_policy`` takes their prompts only: the student answers and the teacher, with the
    constitution in its context, corrects every token by the reverse KL divergence. The settings of the preference loss, from ``beta``
    to ``share_prompts``, ``stop_when_saturated`` and ``harder_pairs``, then have no effect; held-out prompts are scored by the same
    divergence."""

    on_policy: OnPolicyConfig = OnPolicyConfig()
    """Settings of ``algorithm: on_policy``."""

    beta: float = Field(0.1, gt=0)
    """DPO's temperature: smaller lets the policy move further from the reference model."""

    nll_weight: float = Field(0.0, ge=0)
    """Weight of the negative log-likelihood of ``chosen`` added to the loss; the published recipe uses 0.1."""

    drift_weight: float = Field(0.0, ge=0)
    """Weight of the mean squared log-ratio of policy and reference over all completion tokens, which keeps the policy near the
    reference where the preference does not ask it to leave; the published recipe uses 0.001."""

    loss: Literal[
        "sigmoid",
        "hinge",
        "ipo",
        "exo_pair",
        "nca_pair",
        "robust",
        "bco_pair",
        "sppo_hard",
        "aot",
        "aot_unpaired",
        "apo_zero",
        "apo_down",
        "discopop",
        "sigmoid_norm",
    ] = "sigmoid"
    """The preference loss, by TRL's name for it; ``sigmoid`` is DPO's own. ``aot`` and ``aot_unpaired`` compare the pairs of one forward
    pass with each other, so they depend on ``micro_batch_size``."""

    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of the pairs taken to be labelled the wrong way round, for the losses that reckon with it: ``robust``, whose authors use 0.1,
    ``exo_pair``, whose authors use 0.001, ``aot`` and ``aot_unpaired``."""

    share_prompts: bool = True
    """Read the prompt of a pair once for both sides, and pack pairs rather than pad them, where the model's attention allows it. Changes
    the time, not the result beyond rounding."""

    held_out: float = Field(0.0, ge=0, lt=0.5)
    """Share of the prompts whose pairs are not trained on but scored every ``held_out_steps`` steps and at the end. A held-out loss that
    rises while the training loss falls shows that pairs are being memorised."""

    held_out_steps: int = Field(20, ge=1)
    """Optimizer steps between two scorings of the held-out pairs."""

    stop_when_saturated: int | None = Field(None, ge=1)
    """Stop once every pair of this many steps in a row is ranked rightly: what follows only sharpens the margin."""

    harder_pairs: float | None = Field(None, gt=0, lt=1)
    """Instead of stopping then, learn only from this share of the pairs of each forward pass: those whose reward margin is smallest. It
    takes a further forward pass to find them; the metrics stay those of all pairs."""

    @model_validator(mode="after")
    def _check_loss(self) -> "DPOConfig":
        usual = SMOOTHED.get(self.loss)
        if self.label_smoothing and self.loss not in (*SMOOTHED, *SORTED):
            raise ValueError(
                f"label_smoothing={self.label_smoothing:g} has no effect with loss={self.loss}; {', '.join((*SMOOTHED, *SORTED))} reckon "
                "with it. Choose one of these, or leave label_smoothing out."
            )
        if self.loss in SORTED and self.micro_batch_size == 1:
            raise ValueError(
                f"loss={self.loss} sorts the pairs of a forward pass, and micro_batch_size=1 leaves one, so it would be sigmoid. Raise "
                "micro_batch_size, or choose another loss."
            )
        if usual and not self.label_smoothing:
            why = "takes its logarithm" if self.loss == "exo_pair" else "is sigmoid without it"
            raise ValueError(
                f"label_smoothing is 0, but loss={self.loss} {why}. Set label_smoothing, to {usual:g} for instance as its authors do, or "
                "choose another loss."
            )
        return self

    @model_validator(mode="after")
    def _check_harder_pairs(self) -> "DPOConfig":
        if self.harder_pairs is None:
            return self
        if self.stop_when_saturated is None:
            raise ValueError(
                f"harder_pairs={self.harder_pairs:g} says what to do once all pairs are ranked rightly, but stop_when_saturated, "
                "after how many such steps, is missing. Set it, to 10 for instance."
            )
        left = math.ceil(self.harder_pairs * self.micro_batch_size)
        if left == self.micro_batch_size:
            raise ValueError(
                f"harder_pairs={self.harder_pairs:g} of micro_batch_size={self.micro_batch_size} pairs are all {left}, so it would "
                "change nothing. Lower harder_pairs, or raise micro_batch_size."
            )
        return self


class SFTConfig(TrainingConfig):
    """Introspection: supervised fine-tuning on top of the frozen, active DPO adapter."""

    lora: LoRAConfig = LoRAConfig(rank=256, alpha=256)
    """The second adapter."""

    loss_on: Literal["all_turns", "last_turn"] = "all_turns"
    """Which assistant turns of a conversation are trained on."""

    max_length: int = Field(2048, ge=16)
    """Longest example, in tokens."""


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
    single stage's trainer knows, such as ``ld_alpha``, goes to that stage alone."""

    model: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of ``from_pretrained``, passed through as they are: ``{attn_implementation: flash_attention_2}``. Attention
    that takes no mask, as this one, also ends the sharing of prompts."""

    liger: bool | None = None
    """Compute norms, rotary embeddings and gated MLPs with the fused kernels of ``liger-kernel`` (pip install liger-kernel). Changes the
    time, not the result beyond rounding. By default on GPUs, where it is installed and the model is of a type it was tried on here; not
    with ``in_process``."""

    report_to: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ("tensorboard",)
    """Trackers that follow a training live, beside ``metrics.jsonl``, which always does. TensorBoard's files lie in the stage's folder;
    the others read their own environment variables and must be installed."""

    @field_validator("report_to")
    @classmethod
    def _check_installed(cls, trackers: tuple[str, ...]) -> tuple[str, ...]:
        modules = {"tensorboard": ("tensorboard", "tensorboardX"), "mlflow": ("mlflow",), "wandb": ("wandb",)}
        for tracker in trackers:
            if not any(importlib.util.find_spec(module) for module in modules[tracker]):
                raise ValueError(
                    f"names {tracker!r}, but {' and '.join(modules[tracker])} cannot be imported here. Install it on every machine "
                    "(pip install), or leave it out."
                )
        return trackers

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
        if self.liger and not importlib.util.find_spec("liger_kernel"):
            raise ValueError(
                "liger is set, but liger_kernel cannot be imported here. Install it on every machine (pip install liger-kernel), or "
                "leave it out."
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
    def _check_gpu_share(self) -> "ClusterTrainConfig":
        if self.gpu_share < 1 and self.workers > 1:
            raise ValueError(
                f"gpu_share={self.gpu_share:g} would put several of workers={self.workers} on one GPU, and NCCL wants one for each. "
                "Set workers: 1, or leave gpu_share out."
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
    def numerics(self) -> dict[str, Any]:
        """What decides the weights that come out; of the further arguments those that are set."""
        further = {name: given for name in ("deepspeed", "trainer", "model") if (given := getattr(self, name))}
        return self.model_dump(include={"precision", "workers", "zero_stage"}) | further

    @property
    def booked_gpus(self) -> float:
        """GPUs that the workers take while they work."""
        return self.gpus * self.gpu_share

    @property
    def gpus(self) -> int:
        """GPUs of all workers together."""
        return self.workers if self.device == "gpu" else 0
