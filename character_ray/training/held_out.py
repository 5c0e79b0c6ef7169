"""Pairs that training never sees, so that learning and memorising can be told apart while it goes on."""

from collections.abc import Sequence
from typing import Any

from character_ray.rows import content_hash

__all__ = ["split_pairs"]

Row = dict[str, Any]


def split_pairs(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows to train on and held-out rows, in their order; all pairs of a prompt are on one side.

    Args:
        rows: Pairs with a ``prompt_id``.
        share: Share of the prompts to hold out, rounded, and at least one; 0 holds out none.
        seed: Decides which.
    """
    prompts = sorted({row["prompt_id"] for row in rows}, key=lambda prompt: content_hash(seed, prompt))
    chosen = set(prompts[: max(1, round(share * len(prompts)))]) if share else set()
    return (
        [row for row in rows if row["prompt_id"] not in chosen],
        [row for row in rows if row["prompt_id"] in chosen],
    )
