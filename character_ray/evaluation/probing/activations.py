"""The residual stream while a model reads an answer, and before its first word.

Axes: N passages, L layers, D width.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from character_ray.evaluation.reader import Passage, Reader

__all__ = ["Activations", "hidden_of", "read_activations"]


@dataclass(frozen=True)
class Activations:
    """Residual stream after each block, float32."""

    answer_NLD: np.ndarray
    """Mean over the answer's tokens."""

    before_NLD: np.ndarray
    """At the last token before the answer: what the model holds when it is about to speak."""


def read_activations(reader: Reader, arm: str, passages: Sequence[Passage], batch_size: int = 16) -> Activations:
    """The activations of an arm's weights on the passages; only means are kept, never a whole sequence.

    Raises:
        ValueError: There is no passage, or one has an empty answer.
    """
    import torch

    if not passages or not all(passage.answer for passage in passages):
        raise ValueError(f"{len(passages)} passages, each of which needs an answer of at least one token")
    answer: dict[int, list[np.ndarray]] = {}
    before: dict[int, list[np.ndarray]] = {}
    with reader.weights(arm), torch.inference_mode():
        for places, ids, mask in reader.batches(passages, batch_size):
            kept: list[tuple[Any, Any]] = []
            inside = torch.zeros_like(mask)
            for row, place in enumerate(places):
                inside[row, passages[place].start : len(passages[place].ids)] = 1
            last = torch.tensor([passages[place].start - 1 for place in places], device=ids.device)

            def keep(
                module: Any, args: Any, output: Any, kept: Any = kept, inside: Any = inside, last: Any = last
            ) -> None:
                hidden = hidden_of(output).float()
                share = inside.to(hidden.dtype) / inside.sum(1, keepdim=True)
                kept.append((torch.einsum("btd,bt->bd", hidden, share), hidden[torch.arange(len(hidden)), last]))

            with ExitStack() as hooks:
                for layer in reader.layers:
                    hooks.callback(layer.register_forward_hook(keep).remove)
                reader.model(input_ids=ids, attention_mask=mask, logits_to_keep=1)
            for row, place in enumerate(places):
                answer[place] = [means[row].cpu().numpy() for means, _ in kept]
                before[place] = [lasts[row].cpu().numpy() for _, lasts in kept]
    order = range(len(passages))
    return Activations(np.array([answer[place] for place in order]), np.array([before[place] for place in order]))


def hidden_of(output: Any) -> Any:
    """The residual stream in what a block returns: a tensor, or a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output
