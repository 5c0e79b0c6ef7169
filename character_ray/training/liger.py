"""Liger's fused kernels for a model's norms, rotary embeddings and gated MLPs."""

import importlib.util
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from character_ray.config import ClusterTrainConfig
from character_ray.errors import TrainingError

__all__ = ["in_one_row", "use_liger"]

Rotary = Callable[..., tuple[Any, Any]]

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
        # What it patches is patched for the rest of the process, which in_process is not the training's own.
        if cluster.device == "cpu" or cluster.in_process or not installed or architecture not in TRIED:
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
    if architecture in TRIED:
        modeling = sys.modules[type(model).__module__]
        vars(modeling)["apply_rotary_pos_emb"] = in_one_row(modeling.apply_rotary_pos_emb)
    return True


def in_one_row(rotary: Rotary) -> Rotary:
    """Rotary embeddings by a function that is called with one row only, its tokens those of all rows one after the other.

    Triton compiles Liger's kernel anew for every number of rows, and batches of one training differ in it.

    Args:
        rotary: Takes queries ``[B, heads, S, D]``, keys alike, and cosines and sines ``[1 or B, S, D]``; rotates token by token.
    """

    @wraps(rotary)
    def rotated(q: Any, k: Any, cos: Any, sin: Any, *rest: Any, **named: Any) -> tuple[Any, Any]:
        rows, _, length, _ = q.shape
        joined = (x.transpose(1, 2).flatten(0, 1)[None].transpose(1, 2) for x in (q, k))
        angles = (x.expand(rows, -1, -1).flatten(0, 1)[None] for x in (cos, sin))
        q_row, k_row = rotary(*joined, *angles, *rest, **named)
        q_rows, k_rows = (x.transpose(1, 2)[0].unflatten(0, (rows, length)).transpose(1, 2) for x in (q_row, k_row))
        return q_rows, k_rows

    return rotated
