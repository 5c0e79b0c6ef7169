"""How the two adapters are trained and on what."""

import math
from typing import Literal

from pydantic import Field, model_validator

from character_ray.config.base import Config
from character_ray.config.watch import WatchConfig

__all__ = [
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
    """Examples per forward pass of one worker; the rest of the batch is accumulated. Introspection reads conversations of similar lengths
    together: there it is their number on average, and no pass is larger than this many of the step's longest."""

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

    @property
    def micro_batches(self) -> int:
        """Micro-batches of a step, over all workers."""
        return self.batch_size // self.micro_batch_size


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
