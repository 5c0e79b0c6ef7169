"""Packages that a training imports only where its recipe asks for them."""

import importlib.util

from character_ray.config import ClusterTrainConfig
from character_ray.errors import RecipeError

__all__ = ["check_packages"]

# Any of them will do.
TRACKERS = {"tensorboard": ("tensorboard", "tensorboardX"), "mlflow": ("mlflow",), "wandb": ("wandb",)}


def check_packages(train: ClusterTrainConfig) -> None:
    """Check, where a run is about to start, that its trackers and kernels are installed; a recipe that is only read needs none of them.

    Raises:
        RecipeError: One cannot be imported on this machine.
    """
    for tracker in train.report_to:
        if not any(importlib.util.find_spec(module) for module in TRACKERS[tracker]):
            raise RecipeError(
                f"train.report_to names {tracker!r}, but {' and '.join(TRACKERS[tracker])} cannot be imported here, so that training would "
                "fail once everything before it is made. Install it on every machine (pip install), or leave it out."
            )
    if train.liger and not importlib.util.find_spec("liger_kernel"):
        raise RecipeError(
            "train.liger is set, but liger_kernel cannot be imported here, so that training would fail once everything before it is made. "
            "Install it on every machine (pip install liger-kernel), or leave it out."
        )
