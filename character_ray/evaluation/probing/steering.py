"""Interventions on the residual stream: a direction taken out, or added.

    taken out   h <- h - (h . u) u        after every block, at every position       (u of length one)
    added       h <- h + strength * d     after one block, at every position

Both act through forward hooks and end with the block, so the weights are never touched.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from character_ray.evaluation.probing.activations import hidden_of

if TYPE_CHECKING:
    import torch

__all__ = ["added", "random_direction", "removed"]


@contextmanager
def removed(layers: "Sequence[torch.nn.Module]", direction_D: np.ndarray) -> Iterator[None]:
    """Project the direction out of the residual stream after each of the layers.

    Raises:
        ValueError: The direction has no length.
    """
    length = float(np.linalg.norm(direction_D))
    if not length > 0:
        raise ValueError("a direction of length 0 cannot be projected out")
    unit = direction_D / length

    def change(hidden: "torch.Tensor", unit_D: "torch.Tensor") -> "torch.Tensor":
        return hidden - (hidden @ unit_D)[..., None] * unit_D

    with _hooked(layers, unit, change):
        yield


@contextmanager
def added(layer: "torch.nn.Module", direction_D: np.ndarray) -> Iterator[None]:
    """Add the direction, as long as it is, to the residual stream after the layer."""
    with _hooked([layer], direction_D, lambda hidden, vector_D: hidden + vector_D):
        yield


def random_direction(like_D: np.ndarray, seed: int) -> np.ndarray:
    """A direction drawn uniformly, of the same length: what any push of this strength does."""
    drawn_D = np.random.default_rng(seed).standard_normal(like_D.shape)
    scaled: np.ndarray = drawn_D * (np.linalg.norm(like_D) / np.linalg.norm(drawn_D))
    return scaled


@contextmanager
def _hooked(layers: "Sequence[torch.nn.Module]", vector_D: np.ndarray, change: Any) -> Iterator[None]:
    import torch

    vector = torch.from_numpy(np.asarray(vector_D, dtype=np.float32))

    def hook(module: Any, args: Any, output: Any) -> Any:
        hidden = hidden_of(output)
        new = change(hidden, vector.to(hidden.device, hidden.dtype))
        return (new, *output[1:]) if isinstance(output, tuple) else new

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
