"""How the two adapters are trained and on what."""

import importlib.util
from typing import Literal

from pydantic import Field, field_validator, model_validator

from character_ray.config.base import Config

__all__ = ["ClusterTrainConfig", "DPOConfig", "LoRAConfig", "SFTConfig", "TrainingConfig"]

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


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


class DPOConfig(TrainingConfig):
    """Distillation: direct preference optimisation."""

    beta: float = Field(0.1, gt=0)
    """DPO's temperature: smaller lets the policy move further from the reference model."""

    nll_weight: float = Field(0.0, ge=0)
    """Weight of the negative log-likelihood of ``chosen`` added to the loss; the published recipe uses 0.1."""

    drift_weight: float = Field(0.0, ge=0)
    """Weight of the mean squared log-ratio of policy and reference over all completion tokens, which keeps the policy near the
    reference where the preference does not ask it to leave; the published recipe uses 0.001."""

    loss: Literal[
        "sigmoid", "hinge", "ipo", "exo_pair", "robust", "apo_zero", "apo_down", "discopop", "sigmoid_norm"
    ] = "sigmoid"
    """The preference loss, by TRL's name for it; ``sigmoid`` is DPO's own."""

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


class SFTConfig(TrainingConfig):
    """Introspection: supervised fine-tuning on top of the frozen, active DPO adapter."""

    lora: LoRAConfig = LoRAConfig(rank=256, alpha=256)
    """The second adapter."""

    loss_on: Literal["all_turns", "last_turn"] = "all_turns"
    """Which assistant turns of a conversation are trained on."""

    max_length: int = Field(2048, ge=16)
    """Longest example, in tokens."""


class ClusterTrainConfig(Config):
    """What Ray Train runs both stages on."""

    device: Literal["cpu", "gpu"] = "gpu"
    """Device of every worker."""

    workers: int = Field(1, ge=1)
    """Data-parallel workers; one GPU each, or ``cpus_per_worker`` cores each."""

    cpus_per_worker: int = Field(2, ge=1)
    """CPU cores of a worker."""

    zero_stage: Literal[0, 1, 2, 3] = 2
    """DeepSpeed ZeRO stage; 0 is plain data parallel, the fastest choice for a LoRA whose base fits on every device."""

    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Number format of the base model and of the forward pass; adapters are kept in float32 except under ZeRO-3."""

    max_failures: int = Field(2, ge=0)
    """How often a failed worker group is restarted from its last checkpoint."""

    checkpoint_steps: int = Field(50, ge=1)
    """Optimizer steps between checkpoints."""

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

    @property
    def gpus(self) -> int:
        """GPUs of all workers together."""
        return self.workers if self.device == "gpu" else 0
