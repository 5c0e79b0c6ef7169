"""Liger's fused kernels for a model's norms, rotary embeddings and gated MLPs."""

import importlib.util
from typing import Any

from character_ray.config import ClusterTrainConfig
from character_ray.errors import TrainingError

__all__ = ["use_liger"]

# Types of models whose losses and gradients were compared with and without (tests/gpu/test_kernels.py, benchmarks/results).
TRIED = ("llama", "qwen3")


def use_liger(model: Any, cluster: ClusterTrainConfig) -> bool:
    """Patch a causal language model in place where the recipe asks for it or, if it does not say, where that was seen to work.

    The loss stays as it is, since Liger's preference losses are slower than TRL's own.

    Returns:
        Whether the model was patched.

    Raises:
        TrainingError: The recipe asks for it, and Liger has no kernels for this type of model.
    """
    architecture = model.config.model_type
    if cluster.liger is None:
        installed = importlib.util.find_spec("liger_kernel") is not None
        if cluster.device == "cpu" or not installed or architecture not in TRIED:
            return False
    elif not cluster.liger:
        return False
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN, _apply_liger_kernel_to_instance

    if architecture not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise TrainingError(
            f"train.liger is set, but liger-kernel has no kernels for models of type {architecture!r}. It knows "
            f"{', '.join(sorted(MODEL_TYPE_TO_APPLY_LIGER_FN))}. Leave train.liger out."
        )
    _apply_liger_kernel_to_instance(model, cross_entropy=False, fused_linear_cross_entropy=False)
    return True
