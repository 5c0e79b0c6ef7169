"""The training function that Ray Train runs in every worker."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_ray.config import SFTConfig
from character_ray.errors import CharacterRayError, TrainingError
from character_ray.training.arguments import lora_config, trainer_arguments
from character_ray.training.examples import IGNORED, describe_example, to_labelled
from character_ray.training.job import TrainJob

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase, Trainer

__all__ = ["FATAL", "train_worker"]

# Why a training cannot go on, written by the worker that found out: unlike a lost machine it must not be retried.
FATAL = "fatal.json"


def train_worker(config: dict[str, Any]) -> None:
    """Train one adapter; runs once per worker.

    Args:
        config: ``{"job": TrainJob}``.
    """
    job: TrainJob = config["job"]
    try:
        _train(job)
    except CharacterRayError as error:
        (job.folder / FATAL).write_text(json.dumps(str(error)), encoding="utf-8")


def _train(job: TrainJob) -> None:
    import torch
    from transformers.trainer_utils import get_last_checkpoint

    logging.getLogger("transformers").setLevel(logging.ERROR)
    if job.cluster.device == "cpu":
        torch.set_num_threads(job.cluster.cpus_per_worker)
    trainer = _build_trainer(job)
    checkpoint = get_last_checkpoint(str(job.checkpoints)) if job.checkpoints.is_dir() else None
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(str(job.folder / "trained"))


def _build_trainer(job: TrainJob) -> "Trainer":
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from character_ray.training.guards import FiniteLoss, MetricsFile, StartsAtReference

    tokenizer = AutoTokenizer.from_pretrained(job.base)
    arguments = trainer_arguments(job)
    callbacks = [FiniteLoss(), MetricsFile(job.folder / "metrics.jsonl")]
    model = AutoModelForCausalLM.from_pretrained(job.base, dtype=getattr(torch, job.cluster.precision))
    model.config.use_cache = False
    if isinstance(job.config, SFTConfig):
        from trl import SFTConfig as TRLSFTConfig

        from character_ray.training.stacked import StackedSFTTrainer, stack

        return StackedSFTTrainer(
            model=stack(model, job),
            args=TRLSFTConfig(**arguments),
            train_dataset=_conversations(job, tokenizer),
            processing_class=tokenizer,
            callbacks=callbacks,
        )
    from trl import DPOConfig as TRLDPOConfig
    from trl import DPOTrainer

    trainer: Trainer = DPOTrainer(
        model=model,
        args=TRLDPOConfig(**arguments),
        train_dataset=_pairs(job),
        processing_class=tokenizer,
        peft_config=lora_config(job),
        callbacks=[StartsAtReference(), *callbacks],
    )
    return trainer


def _pairs(job: TrainJob) -> "Dataset":
    from datasets import Dataset

    rows = _kept_rows(job.data)
    return Dataset.from_list([{side: row[side] for side in ("prompt", "chosen", "rejected")} for row in rows])


def _conversations(job: TrainJob, tokenizer: "PreTrainedTokenizerBase") -> "Dataset":
    """Labelled conversations; the first is written out as the model sees it."""
    from datasets import Dataset

    assert isinstance(job.config, SFTConfig)
    examples = [
        to_labelled(row["row_id"], row["messages"], tokenizer, job.config.max_length, job.config.loss_on)
        for row in _kept_rows(job.data)
    ]
    untrained = sum(all(label == IGNORED for label in example["labels"]) for example in examples)
    if untrained:
        raise TrainingError(
            f"{untrained} of {len(examples)} conversations have no trained token left after truncation to {job.config.max_length}. "
            "Raise sft.max_length."
        )
    (job.folder / "first_example.txt").write_text(describe_example(examples[0], tokenizer) + "\n", encoding="utf-8")
    return Dataset.from_list(examples)


def _kept_rows(path: Path) -> list[dict[str, Any]]:
    from character_ray.parts import read_rows

    rows = [row for row in read_rows(path) if not row["drop_reason"]]
    if not rows:
        raise TrainingError(
            f"{path}: no row is left to train on; all were dropped. Loosen the filters or generate more."
        )
    return rows
