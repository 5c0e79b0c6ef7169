"""Trainer callbacks that write the metrics and stop a training that has left its path."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from character_ray.config import WatchConfig
from character_ray.errors import TrainingError
from character_ray.training.reference_cache import ReferenceCache
from character_ray.training.step_rows import StepRows
from character_ray.training.throughput import Throughput

__all__ = ["CharacterHolds", "LossHolds", "MetricsFile", "StartsAtReference", "StopsWhenSaturated", "WritesReference"]

# In bfloat16 the same forward pass twice, with and without an adapter that is still zero, may differ in the last bit.
REFERENCE_TOLERANCE = 1e-2
# Two compiled graphs round apart: 0.002 was seen on an H200 at sides of some hundred tokens, and longer ones sum more of it.
COMPILED_TOLERANCE = 0.1
# Loss over that of the first step, or over 1 where it began below, at which a training has left its path.
EXPLODED = 10


class LogReader(TrainerCallback):
    """Reads what the trainer logs."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Hand a log line on."""
        self.read(args, state, control, logs or {})

    def read(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any]
    ) -> None:
        """What to do with a log line."""
        raise NotImplementedError


class MetricsFile(LogReader):
    """Appends what the trainer logs to ``metrics.jsonl``: a line per step, and one per scoring of held-out pairs (``eval_*``).

    A resumed step replaces nothing; the last counts. Beside TRL's figures: ``elapsed_s`` since this process began to train,
    ``tokens_per_s`` and, on a GPU, ``mfu`` and ``peak_memory_gib`` of its tensors; what the rates count is said in
    :mod:`character_ray.training.throughput`.

    Args:
        path: The file.
        throughput: Reckons the rates.
        workers: Written as ``workers`` beside every step, where their number may change.
    """

    def __init__(self, path: Path, throughput: Throughput, workers: int | None = None) -> None:
        self._path = path
        self._throughput = throughput
        self._workers = {} if workers is None else {"workers": workers}
        self._began = monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._began = monotonic()

    def read(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any]
    ) -> None:
        """Write one line, from the first worker only."""
        if state.is_world_process_zero and ("loss" in logs or "eval_loss" in logs):
            numbers = {name: value for name, value in logs.items() if isinstance(value, int | float)}
            numbers["elapsed_s"] = round(monotonic() - self._began, 4)
            if "loss" in logs and "num_tokens" in logs:
                numbers |= self._throughput.step(logs["num_tokens"], numbers["elapsed_s"])
            if torch.cuda.is_available():
                numbers["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 1024**3, 2)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": state.global_step, **numbers, **self._workers}) + "\n")


class LossHolds(LogReader):
    """Stops when loss or gradient are no longer numbers, or the loss has grown to many times that of the first step.

    Args:
        rows: What the step was made of.
    """

    def __init__(self, rows: StepRows) -> None:
        self._rows = rows

    def read(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any]
    ) -> None:
        """Check the logged loss, and the gradient's norm: the last step's gradient goes into the adapter, but into no further loss.

        Raises:
            TrainingError: One of them is NaN or infinite, the loss is more than ``EXPLODED`` times the first, or the first gradient is 0.
        """
        loss, norm = logs.get("loss"), logs.get("grad_norm")
        if loss is None:
            return
        # In the history, which a checkpoint restores: a training that is taken up again is held to the same bound.
        first = next(line["loss"] for line in state.log_history if "loss" in line)
        step = f"at step {state.global_step} of {state.max_steps}"
        if not math.isfinite(loss) or loss > EXPLODED * max(first, 1.0):
            found = f"the loss is {loss:.4g} {step}, where it began with {first:.4g}"
        elif norm is not None and not math.isfinite(norm):
            found = f"the gradient's norm is {norm:.4g} {step}, which leaves weights that are no numbers"
        elif norm == 0 and state.global_step == 1:
            raise TrainingError(
                f"the gradient's norm is 0 {step}, so nothing would be learnt. No gradient reaches the adapter: leave out what compiles or "
                "replaces layers (train.compile_layers, train.trainer, train.liger)."
            )
        else:
            return
        raise TrainingError(
            f"{found}; the step read {self._rows.named()}. Look at them, lower learning_rate={args.learning_rate}, or train in float32 "
            "(train.precision)."
        )


class CharacterHolds(LogReader):
    """Stops when what the policy says leaves the bounds of the recipe; reads what :mod:`character_ray.training.watch` logs.

    Args:
        bounds: The recipe's section.
        rows: What the step was made of.
    """

    def __init__(self, bounds: WatchConfig, rows: StepRows) -> None:
        self._bounds = bounds
        self._rows = rows

    def read(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any]
    ) -> None:
        """Check the measured figures.

        Raises:
            TrainingError: One of them is above its bound.
        """
        for name, bound, seen in (
            ("drift", self._bounds.max_drift, "nats per token from the base model"),
            ("repetition", self._bounds.max_repetition, "of their 3-grams, so the completions collapse"),
        ):
            value = logs.get(f"watch/{name}")
            if bound is not None and value is not None and not value <= bound:
                verb = "drifted" if name == "drift" else "repeat"
                raise TrainingError(
                    f"at step {state.global_step} of {state.max_steps} the answers to the watched questions {verb} {value:.3f} {seen}; "
                    f"watch.max_{name}={bound:g} allows no more. The step read {self._rows.named()}. "
                    f"Lower learning_rate={args.learning_rate} or epochs={args.num_train_epochs:g}, "
                    f"filter repeated text more strictly (filters.max_repetition), or raise watch.max_{name}."
                )


class StartsAtReference(LogReader):
    """Checks that DPO begins where it must: policy equals reference model, so implicit rewards are 0 and DPO's own loss is ln 2.

    Any other value means the two sides were rendered, loaded or adapted differently, and every later log-ratio is wrong.

    Args:
        compiled: Whether each side's layers are a graph of its own, in which sums are rounded at other places.
    """

    def __init__(self, *, compiled: bool = False) -> None:
        self._tolerance = COMPILED_TOLERANCE if compiled else REFERENCE_TOLERANCE

    def read(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any]
    ) -> None:
        """Check the rewards of the first step.

        Raises:
            TrainingError: One of them is not 0.
        """
        if state.global_step != 1 or "rewards/chosen" not in logs:
            return
        rewards = {side: logs[f"rewards/{side}"] for side in ("chosen", "rejected")}
        if any(abs(reward) > self._tolerance for reward in rewards.values()):
            raise TrainingError(
                f"at the first step policy and reference model disagree: implicit rewards are {rewards}, where they must be 0 within "
                f"{self._tolerance:g}. The base model, its template or its adapters differ between the two."
            )


class StopsWhenSaturated(LogReader):
    """Ends DPO early once the reward accuracy has been 1 for a number of steps.

    Args:
        steps: How many in a row; ``None`` never stops.
    """

    def __init__(self, steps: int | None) -> None:
        self._steps = steps

    def read(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any]
    ) -> None:
        """Look at the last steps in the trainer's history, which a checkpoint restores; all workers log the same."""
        if self._steps is None:
            return
        found = [line["rewards/accuracies"] for line in state.log_history if "rewards/accuracies" in line]
        if len(found) >= self._steps and min(found[-self._steps :]) == 1.0:
            control.should_training_stop = True


class WritesReference(TrainerCallback):
    """Writes what the reference said with every checkpoint and at the end, so that a resumed training reads the same numbers."""

    def __init__(self, cache: ReferenceCache) -> None:
        self._cache = cache

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write what is new."""
        self._cache.flush()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the rest."""
        self._cache.flush()
