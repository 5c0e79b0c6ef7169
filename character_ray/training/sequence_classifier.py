"""Fine-tune an encoder, such as RoBERTa or ModernBERT, to name the class of a text: plain data parallelism on Ray Train.

texts, labels -> workers, each with its share of every batch -> folder with the model -> logits of any texts
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from character_ray.config import ClusterTrainConfig
from character_ray.errors import TrainingError

if TYPE_CHECKING:
    import torch

__all__ = ["ClassifierJob", "classify_texts", "train_classifier"]


@dataclass(frozen=True)
class ClassifierJob:
    """What to train."""

    base: Path
    """Folder of an encoder."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]
    """Class of each text, from 0."""

    num_classes: int
    folder: Path
    """New folder for the model."""

    cluster: ClusterTrainConfig
    epochs: int = 3
    learning_rate: float = 3e-5
    batch_size: int = 16
    """Texts of one step, over all workers."""

    max_length: int = 256
    """Longest text, in tokens; what is longer is cut."""

    seed: int = 0


def train_classifier(job: ClassifierJob) -> list[float]:
    """Train and write the model; returns the loss of every step on the first worker's share. A Ray session is open.

    Raises:
        TrainingError: A batch cannot be shared out evenly, a label is no class, or a worker failed.
    """
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    workers = job.cluster.workers
    if job.batch_size % workers:
        raise TrainingError(
            f"batch_size={job.batch_size} cannot be shared out evenly over {workers} workers. Set it to a multiple of {workers}."
        )
    if not job.labels or not set(job.labels) <= set(range(job.num_classes)):
        raise TrainingError(
            f"labels {sorted(set(job.labels))} are not all among the {job.num_classes} classes, numbered from 0, or there are none."
        )
    gpu = job.cluster.device == "gpu"
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": job.cluster.cpus_per_worker} | ({"GPU": 1} if gpu else {}),
        ),
        run_config=RunConfig(name="classifier", storage_path=str(job.folder.resolve() / "ray_train")),
    )
    try:
        trainer.fit()
    except Exception as cause:
        raise TrainingError(f"training the classifier on {job.base} failed: {cause}") from cause
    finally:
        shutil.rmtree(job.folder / "ray_train", ignore_errors=True)
    losses: list[float] = np.loadtxt(job.folder / "losses.txt", ndmin=1).tolist()
    return losses


def classify_texts(folder: Path, texts: Sequence[str], max_length: int = 256, batch_size: int = 32) -> np.ndarray:
    """Logits of a trained model; shape ``(N, K)``, float32."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    found = []
    with torch.inference_mode():
        for first in range(0, len(texts), batch_size):
            found.append(
                model(**_encode(tokenizer, texts[first : first + batch_size], max_length, device)).logits.cpu()
            )
    logits: np.ndarray = torch.cat(found).numpy()
    return logits


def _worker(config: dict[str, Any]) -> None:
    """One worker: its share of every batch, gradients averaged over all; the first one writes the model."""
    import ray.train.torch
    import torch
    from ray import train
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    job: ClassifierJob = config["job"]
    context = train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    torch.manual_seed(job.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.base)
    plain: Any = AutoModelForSequenceClassification.from_pretrained(
        job.base, num_labels=job.num_classes, dtype=torch.float32
    )
    model = ray.train.torch.prepare_model(plain)
    device = ray.train.torch.get_device()
    optimizer = torch.optim.AdamW(model.parameters(), lr=job.learning_rate, weight_decay=0.01)
    per_epoch = -(-len(job.texts) // job.batch_size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=per_epoch * job.epochs)
    # Rare classes count as much as common ones.
    counts = np.bincount(job.labels, minlength=job.num_classes)
    weight = torch.tensor(len(job.labels) / np.maximum(counts, 1) / job.num_classes, dtype=torch.float32, device=device)
    draw = np.random.default_rng(job.seed)
    model.train()
    losses = []
    for _ in range(job.epochs):
        order = draw.permutation(len(job.texts))
        # The last batch is filled up from the first, so that every worker has as many.
        order = np.resize(order, per_epoch * job.batch_size)
        for first in range(0, len(order), job.batch_size):
            own = order[first : first + job.batch_size][rank::world]
            inputs = _encode(tokenizer, [job.texts[place] for place in own], job.max_length, device)
            target = torch.tensor([job.labels[place] for place in own], device=device)
            logits = model(**inputs).logits
            # Over texts, not over weights: the mean over workers is then the mean over the batch.
            loss = (torch.nn.functional.cross_entropy(logits, target, weight=weight, reduction="none")).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss))
    if rank == 0:
        job.folder.mkdir(parents=True, exist_ok=True)
        plain.save_pretrained(job.folder)
        tokenizer.save_pretrained(job.folder)
        np.savetxt(job.folder / "losses.txt", losses)


def _encode(
    tokenizer: Any, texts: Sequence[str], max_length: int, device: "torch.device | str"
) -> "dict[str, torch.Tensor]":
    encoded = tokenizer(list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    return {name: tensor.to(device) for name, tensor in encoded.items()}
