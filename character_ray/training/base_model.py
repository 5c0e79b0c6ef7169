"""The frozen model that a training adapts, loaded by it alone or shared with the trainings beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

from character_ray.models import build_once, cache_folder, model_hash
from character_ray.training.job import TrainJob
from character_ray.training.lent_weights import borrow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["in_precision", "load_base"]


def load_base(job: TrainJob) -> "PreTrainedModel":
    """The base model in the precision of the training.

    Under ``train.share_base`` its weights are on this GPU once for all trainings that book a part of it. On CPUs they are read from a
    file in that precision, which is mapped into memory rather than copied, so that a machine holds one copy however many train.

    Raises:
        TrainingError: The shared weights could not be had.
    """
    import torch
    from transformers import AutoModelForCausalLM

    cluster = job.cluster
    shared = cluster.share_base
    folder = in_precision(job.base, cluster.precision) if shared and cluster.device == "cpu" else job.base
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, cluster.precision), **cluster.model
    )
    model.name_or_path = model.config._name_or_path = str(job.base)  # what the adapter's configuration names
    if shared and cluster.device == "gpu":
        borrow(model, job.base, cluster.precision, cluster.model)
    return model


def in_precision(base: Path, precision: str) -> Path:
    """Folder of the same model in safetensors of ``precision``, written once into the machine's cache; ``base`` if it is that already."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    wanted = getattr(torch, precision)
    if AutoConfig.from_pretrained(base).dtype == wanted:
        return base
    target = cache_folder() / "precision" / f"{model_hash(base)}-{precision}"
    build_once(target, lambda folder: AutoModelForCausalLM.from_pretrained(base, dtype=wanted).save_pretrained(folder))
    return target
