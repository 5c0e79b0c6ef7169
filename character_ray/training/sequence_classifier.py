"""Fine-tuning of an encoder with a classification head, by Ray Train: what a linear head on frozen features cannot learn.

    texts, labels, masks -> for each mask one training from the untrained encoder -> logits of the texts it did not see

All trainings share one start of the workers. The logits of each are kept, so a stopped job goes on with the next training.

Axes: N texts, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from character_ray.config import FineTuneConfig
from character_ray.encoder import most_tokens
from character_ray.errors import ClusterError, TrainingError
from character_ray.gpu_attention import without_plans
from character_ray.training.failures import root_cause
from character_ray.training.workers import needed_to_fine_tune, run_workers
from character_ray.whole_files import being_written

__all__ = ["ClassifierJob", "check_encoder", "fine_tune"]

# A class that was not trained on is next to impossible.
IMPOSSIBLE = -700.0


@dataclass(frozen=True)
class ClassifierJob:
    """Train one classifier for each mask and leave its logits in a folder on shared storage."""

    texts: Sequence[str]
    labels: Sequence[int]
    masks: Sequence[np.ndarray]
    """Which texts each training sees, each of shape ``(N,)``."""
    num_classes: int
    model: Path
    """Folder of the encoder."""
    folder: Path
    """Receives ``logits-<number>.npy`` for each mask. A folder belongs to one job: what lies in it is taken as done."""
    config: FineTuneConfig
    seed: int

    def logits(self, number: int) -> Path:
        """Where the logits of one training lie."""
        return self.folder / f"logits-{number}.npy"

    def read(self) -> list[np.ndarray]:
        """For each mask the logits of shape ``(N, K)``, once all are trained."""
        return [np.load(self.logits(number)) for number in range(len(self.masks))]


def fine_tune(job: ClassifierJob) -> list[np.ndarray]:
    """Train on the texts of each mask; needs a running Ray.

    Returns:
        For each mask the logits of shape ``(N, K)``; texts that were trained on are NaN.

    Raises:
        TrainingError: The encoder takes no classification head, or its workers failed too often.
        ClusterError: The nodes that are alive cannot hold the workers, and none joined in time.
    """
    check_encoder(job.config.model.name, job.model)
    job.folder.mkdir(parents=True, exist_ok=True)
    if not all(job.logits(number).is_file() for number in range(len(job.masks))):
        _fit(job)
    return job.read()


def _fit(job: ClassifierJob) -> None:
    config = job.config
    try:
        run_workers(
            _train_worker,
            {"job": job},
            needed_to_fine_tune("the classifier's fine-tuning", config),
            job.folder,
            max_failures=config.max_failures,
            wait_for_nodes_s=config.wait_for_nodes_s,
        )
    except ClusterError:
        raise
    except Exception as cause:
        raise TrainingError(
            f"fine-tuning {config.model.name} failed after {config.max_failures} restarts: {root_cause(cause)}. The trainings that were "
            f"done are kept in {job.folder}; mend the cause and run again to continue from there."
        ) from cause


def _train_worker(config: dict[str, Any]) -> None:
    """Train every classifier whose logits are not there yet; runs once per worker."""
    job: ClassifierJob = config["job"]
    import torch
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if job.config.device == "cpu":
        torch.set_num_threads(job.config.cpus_per_worker)
    else:
        without_plans()
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    longest = min(job.config.max_length, most_tokens(job.model, tokenizer))
    encoded = tokenizer(list(job.texts), truncation=True, max_length=longest)
    examples = [
        {**{name: column[row] for name, column in encoded.items()}, "labels": job.labels[row]}
        for row in range(len(job.texts))
    ]
    for number, mask_N in enumerate(job.masks):
        # Every worker sees the same files: only the first writes them, after a training that all took part in.
        if not job.logits(number).is_file():
            _train_one(job, number, np.asarray(mask_N, dtype=bool), examples, tokenizer)


def _train_one(
    job: ClassifierJob, number: int, train_N: np.ndarray, examples: list[dict[str, Any]], tokenizer: Any
) -> None:
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    config = job.config
    # The head is initialised before a trainer exists that would set its seed.
    set_seed(job.seed)
    model = AutoModelForSequenceClassification.from_pretrained(job.model, num_labels=job.num_classes)
    seen = [example for example, is_seen in zip(examples, train_N, strict=True) if is_seen]
    unseen = [example for example, is_seen in zip(examples, train_N, strict=True) if not is_seen]
    steps = -(-len(seen) // config.batch_size) * config.epochs
    counts_K = np.bincount([example["labels"] for example in seen], minlength=job.num_classes)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(job.folder / "trainer"),
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size // config.workers,
            per_device_eval_batch_size=64,
            learning_rate=config.learning_rate,
            warmup_steps=steps // 10,
            weight_decay=0.01,
            seed=job.seed,
            use_cpu=config.device == "cpu",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(seen),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_loss_func=_balanced(counts_K),
    )
    trainer.train()
    found = trainer.predict(Dataset.from_list(unseen)).predictions
    predicted = np.array(found[0] if isinstance(found, tuple) else found, dtype=np.float64)
    predicted[:, counts_K == 0] = IMPOSSIBLE
    logits_NK = np.full((len(examples), job.num_classes), np.nan)
    logits_NK[~train_N] = predicted
    if trainer.is_world_process_zero():
        with being_written(job.logits(number)) as scratch, scratch.open("wb") as file:
            np.save(file, logits_NK)


def check_encoder(name: str, folder: Path) -> None:
    """Refuse a model that takes no classification head.

    Args:
        name: What the user calls it.
        folder: Folder of the model.

    Raises:
        TrainingError: It cannot be read, or has no such form.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        kind = type(AutoConfig.from_pretrained(folder))
    except (OSError, ValueError) as cause:
        raise TrainingError(f"{name} cannot be read as a model: {cause}") from cause
    if kind not in AutoModelForSequenceClassification._model_mapping:
        raise TrainingError(
            f"{name} is a {kind.model_type} model, which has no form with a classification head. Give an encoder, such as "
            "all-minilm-l6-v2, FacebookAI/roberta-base or answerdotai/ModernBERT-base."
        )


def _balanced(counts_K: np.ndarray) -> Callable[..., Any]:
    """Cross entropy in which every class that was seen weighs the same."""
    import torch

    seen_K = counts_K > 0
    weights = np.where(seen_K, counts_K.sum() / (seen_K.sum() * np.maximum(counts_K, 1)), 0.0)

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        weight = torch.as_tensor(weights, dtype=outputs.logits.dtype, device=outputs.logits.device)
        return torch.nn.functional.cross_entropy(outputs.logits, labels, weight=weight)

    return loss
