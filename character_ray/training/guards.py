"""Trainer callbacks that write the metrics and stop a training that has left its path."""

import json
import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from character_ray.errors import TrainingError

__all__ = ["FiniteLoss", "MetricsFile", "StartsAtReference"]

# In bfloat16 the same forward pass twice, with and without an adapter that is still zero, may differ in the last bit.
REFERENCE_TOLERANCE = 1e-2


class MetricsFile(TrainerCallback):
    """Appends what the trainer logs to ``metrics.jsonl``, one line per step; a resumed step replaces nothing, the last counts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write one line, from the first worker only."""
        if state.is_world_process_zero and logs and "loss" in logs:
            numbers = {name: value for name, value in logs.items() if isinstance(value, int | float)}
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": state.global_step, **numbers}) + "\n")


class FiniteLoss(TrainerCallback):
    """Stops when the loss is no longer a number."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Check the logged loss.

        Raises:
            TrainingError: It is NaN or infinite.
        """
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {state.global_step} of {state.max_steps}. Lower learning_rate={args.learning_rate}, "
                "or train in float32 (train.precision)."
            )


class StartsAtReference(TrainerCallback):
    """Checks that DPO begins where it must: policy equals reference model, so the preference loss is ln 2.

    Any other value means the two sides were rendered, loaded or adapted differently, and every later log-ratio is wrong.
    """

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Check the rewards of the first step.

        Raises:
            TrainingError: One of them is not 0.
        """
        if state.global_step != 1 or not logs or "rewards/chosen" not in logs:
            return
        rewards = {side: logs[f"rewards/{side}"] for side in ("chosen", "rejected")}
        if any(abs(reward) > REFERENCE_TOLERANCE for reward in rewards.values()):
            loss = math.log1p(math.exp(rewards["rejected"] - rewards["chosen"]))
            raise TrainingError(
                f"at the first step policy and reference model disagree: implicit rewards are {rewards}, the preference loss is "
                f"{loss:.4f} instead of ln 2 = 0.6931. The base model, its template or its adapters differ between the two."
            )
