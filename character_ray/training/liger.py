"""Liger's fused kernels for a model's norms, rotary embeddings and gated MLPs."""

from typing import Any

from character_ray.errors import TrainingError

__all__ = ["use_liger"]


def use_liger(model: Any) -> None:
    """Patch a causal language model in place; its loss stays as it is, since Liger's preference losses are slower than TRL's own.

    Raises:
        TrainingError: Liger has no kernels for this architecture.
    """
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN, _apply_liger_kernel_to_instance

    architecture = model.config.model_type
    if architecture not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise TrainingError(
            f"train.liger is set, but liger-kernel has no kernels for models of type {architecture!r}. It knows "
            f"{', '.join(sorted(MODEL_TYPE_TO_APPLY_LIGER_FN))}. Leave train.liger out."
        )
    _apply_liger_kernel_to_instance(model, cross_entropy=False, fused_linear_cross_entropy=False)
