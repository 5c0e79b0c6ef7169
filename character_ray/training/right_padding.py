"""Batches padded on the right are read without a mask.

No token of a causal model looks to its right, so padding there changes nothing that is trained on, while an attention kernel that is
given no mask is several times as fast as one that is (``benchmarks/results/layout-h100.json``).
"""

from typing import Any

import torch

__all__ = ["unmask_right_padding"]


def unmask_right_padding(model: Any) -> None:
    """Let a causal language model's layers be called without a mask where the mask only marks padding on the right.

    Masks of other shapes, padding on the left and passes with a cache stay as they are, and so do passes through mixtures of experts that
    are asked for the router's logits: its loss counts tokens by the mask.

    Args:
        model: The base model, not its PEFT wrapper.
    """
    if not getattr(model.config.get_text_config(), "output_router_logits", False):
        model.base_model.register_forward_pre_hook(_unmask, with_kwargs=True)


def _unmask(_layers: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    mask_BT = kwargs.get("attention_mask")
    if kwargs.get("output_router_logits"):
        return args, kwargs
    if isinstance(mask_BT, torch.Tensor) and mask_BT.ndim == 2 and kwargs.get("past_key_values") is None:
        seen_BT = mask_BT.bool()
        if bool(seen_BT[:, 0].all() and (seen_BT[:, :-1] >= seen_BT[:, 1:]).all()):
            kwargs["attention_mask"] = None
    return args, kwargs
