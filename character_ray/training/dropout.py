"""Dropout of the adapter that is trained, and of nothing beside it.

What is frozen computes as it will be served: the base, an adapter beneath and the copy of the policy that DPO takes as its reference. TRL's
DPO trainer turns all dropout off unless it is told otherwise, the trained adapter's with it.
"""

from typing import Any

from torch import nn

__all__ = ["TRAINED", "leave_dropout_to"]

# PEFT's name of the adapter that is trained.
TRAINED = "default"


def leave_dropout_to(model: Any, trained: str = TRAINED) -> None:
    """Take the dropout of the base and of all other adapters away from a PEFT model.

    Args:
        model: With all its adapters.
        trained: Name of the adapter whose dropout stays as its configuration says.
    """
    from peft.tuners.lora.layer import LoraLayer

    kept = set()
    for layer in [module for module in model.modules() if isinstance(module, LoraLayer)]:
        for name, drop in layer.lora_dropout.items():
            if name == trained:
                kept.add(drop)
            else:
                layer.lora_dropout[name] = nn.Identity()  # and not p = 0, which fused layers would leave to PEFT
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module not in kept:
            module.p = 0.0
