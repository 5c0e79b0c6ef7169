"""Token sequences that begin alike as one sequence each, so that a model reads what they share once.

    prompt, [leaf, leaf, ...]  ->  one row: prompt leaf leaf ...

A leaf sees the prompt and itself, not the other leaves, and is numbered from the prompt's end, so that every log-probability is that of
``prompt leaf`` alone, up to rounding. Several trees share a row where they fit. Source: prefix sharing, arXiv 2410.20305.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["Packed", "Tree", "pack_trees", "packed_shape", "takes_a_mask"]


@dataclass(frozen=True)
class Tree:
    """Token ids of a prompt, at least one, and of what may follow it."""

    prompt: list[int]
    leaves: list[list[int]]

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.leaves))


@dataclass(frozen=True)
class Packed:
    """Trees as the rows of a batch."""

    ids_RL: "torch.Tensor"
    """Token ids, shape ``(R, L)``; 0 fills up."""

    positions_RL: "torch.Tensor"
    """Position of each token behind its own prompt."""

    mask_RLL: "torch.Tensor"
    """True where a token (second axis) sees another (third)."""

    real_RL: "torch.Tensor"
    """True on tokens, False on what fills up."""

    scored: list[list[list[int]]]
    """By tree, leaf and token: flat index in ``(R, L)`` of the position that predicts the token."""


def takes_a_mask(model: Any) -> bool:
    """Whether every layer takes an explicit attention mask: full attention by PyTorch's SDPA, position ids, no router loss."""
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return (
        config._attn_implementation == "sdpa"
        and layers == {"full_attention"}
        and not window
        and not getattr(config, "output_router_logits", False)
        and "position_ids" in inspect.signature(type(model.base_model).forward).parameters
    )


def packed_shape(trees: Sequence[Tree]) -> tuple[int, int]:
    """Rows and their length that :func:`pack_trees` makes of these trees."""
    sizes = [len(tree) for tree in trees]
    return len(_fill(sizes)), max(sizes)


def pack_trees(trees: Sequence[Tree], device: "torch.device", *, together: bool = True) -> Packed:
    """Lay trees out in rows none of which is longer than the largest tree.

    Args:
        trees: What to read.
        device: Where the tensors go.
        together: Let trees share a row. If not, and no tree has more than one leaf, a causal mask says the same as ``mask_RLL``.
    """
    import torch

    rows = _fill([len(tree) for tree in trees]) if together else [[number] for number in range(len(trees))]
    width = max(sum(len(trees[number]) for number in row) for row in rows)
    ids, positions, owner, branch = ([[0] * width for _ in rows] for _ in range(4))
    scored: list[list[list[int]]] = [[] for _ in trees]
    for r, row in enumerate(rows):
        start = 0
        for number in row:
            tree = trees[number]
            prompt_end = start + len(tree.prompt)
            for leaf_number, tokens in enumerate([tree.prompt, *tree.leaves]):
                end = start + len(tokens)
                first = 0 if leaf_number == 0 else len(tree.prompt)
                ids[r][start:end] = tokens
                positions[r][start:end] = range(first, first + len(tokens))
                owner[r][start:end] = [number + 1] * len(tokens)
                branch[r][start:end] = [leaf_number] * len(tokens)
                if leaf_number and tokens:
                    # A leaf's first token is predicted by the prompt's last, the others by the token before.
                    predicting = [prompt_end - 1, *range(start, end - 1)]
                    scored[number].append([r * width + position for position in predicting])
                elif leaf_number:
                    scored[number].append([])
                start = end
    ids_RL, positions_RL, owner_RL, branch_RL = (
        torch.tensor(table, device=device) for table in (ids, positions, owner, branch)
    )
    mask_RLL = (owner_RL[:, :, None] == owner_RL[:, None, :]) & torch.ones(
        width, width, dtype=torch.bool, device=device
    ).tril()
    mask_RLL &= (branch_RL[:, None, :] == 0) | (branch_RL[:, :, None] == branch_RL[:, None, :])
    return Packed(ids_RL, positions_RL, mask_RLL, owner_RL > 0, scored)


def _fill(sizes: Sequence[int]) -> list[list[int]]:
    """Trees by row, first fit by falling size."""
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        row = next((row for row, left in enumerate(room) if left >= sizes[number]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(max(sizes))
        rows[row].append(number)
        room[row] -= sizes[number]
    return rows
