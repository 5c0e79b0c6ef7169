"""The pairs that the policy separates least: what is left to learn once it ranks all of them rightly."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

__all__ = ["hardest", "only_pairs", "reward_margins", "was_saturated"]


def was_saturated(history: Sequence[Mapping[str, Any]], steps: int) -> bool:
    """Whether every pair of so many steps in a row was once ranked rightly.

    Args:
        history: What the trainer logged, which a checkpoint restores.
        steps: How many in a row.
    """
    found = [line["rewards/accuracies"] == 1.0 for line in history if "rewards/accuracies" in line]
    return any(all(found[at : at + steps]) for at in range(len(found) - steps + 1))


def reward_margins(policy_BT: torch.Tensor, reference_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Log-ratio of ``chosen`` minus that of ``rejected``, nats, shape ``(B / 2,)``.

    Args:
        policy_BT: Log-probabilities of the tokens; chosen rows, then rejected rows.
        reference_BT: The same by the reference.
        mask_BT: 1 on the tokens of a completion.
    """
    chosen_B, rejected_B = ((policy_BT - reference_BT) * mask_BT).sum(1).chunk(2)
    return chosen_B - rejected_B


def hardest(margins_B: torch.Tensor, share: float) -> torch.Tensor:
    """Numbers of the pairs with the smallest margins, in their order; a share of them rounded up."""
    return margins_B.argsort(stable=True)[: math.ceil(share * len(margins_B))].sort().values


def only_pairs(inputs: Mapping[str, Any], pairs_K: torch.Tensor) -> dict[str, Any]:
    """These pairs of a batch of chosen rows and then rejected rows."""
    rows = len(inputs["input_ids"])
    kept = torch.cat([pairs_K, pairs_K + rows // 2])
    return {
        name: value[kept] if isinstance(value, torch.Tensor) and len(value) == rows else value
        for name, value in inputs.items()
    }
