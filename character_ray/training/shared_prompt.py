"""One forward pass for both sides of a pair: their prompt is read once, and short pairs share a row instead of being padded.

TRL's batch holds ``(prompt, chosen)`` rows and then ``(prompt, rejected)`` rows, each padded to the longest. Here each pair is one
tree of :mod:`character_ray.prefix_packing`, and the output layer sees only the positions that predict a completion's token.

    (2B, T) ids  ->  (R, L) packed ids  ->  (1, N) scored positions  ->  (2B, T - 1) log-probabilities

where N counts the completion tokens of the batch. Where that would cost more than it saves (:mod:`character_ray.training.layout`) the rows
stay whole and lose their padding mask: padding is on the right, where no token of a causal model looks, and a kernel without a mask is
faster.
"""

import functools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers.utils.generic import ModelOutput

from character_ray.prefix_packing import Tree, pack_trees, packed_shape
from character_ray.training.layout import LayerCost, layer_cost, sharing_pays
from character_ray.training.reference_cache import ReferenceCache

__all__ = ["share_prompts"]


def share_prompts(
    model: Any,
    cache: ReferenceCache | None = None,
    is_reference: Callable[[], bool] = lambda: False,
    pays: Callable[[LayerCost, tuple[int, int], tuple[int, int]], bool] = sharing_pays,
) -> None:
    """Patch a causal language model so that TRL's ``fused_lm_head`` passes over pairs run packed where it pays; others run as before.

    Args:
        model: The base model, after ``trl.trainer.utils.add_fused_lm_head`` and before it is prepared for training. Its layers
            must take a mask (:func:`~character_ray.prefix_packing.takes_a_mask`).
        cache: Answers the reference's passes that it knows, and learns the others.
        is_reference: Whether the pass that begins is the reference's.
        pays: Whether packed rows cost less than whole ones.
    """
    fused = model.forward
    cost = functools.cache(partial(layer_cost, model))

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        # A mixture's router loss counts tokens by the mask of whole rows.
        if not kwargs.get("fused_lm_head") or kwargs.get("output_router_logits"):
            return fused(*args, **kwargs)
        ids_BT, labels_BT = kwargs.pop("input_ids"), kwargs.pop("labels")
        trees, origin_N = _trees(ids_BT, kwargs.pop("attention_mask"), labels_BT)
        shape = (ids_BT.shape[0], ids_BT.shape[1] - 1)
        asked = cache if cache is not None and is_reference() else None
        key = asked.key(ids_BT, labels_BT) if asked else ""
        known_N = asked.get(key) if asked else None
        if known_N is not None:
            return _Known(log_probs=_spread(known_N.to(ids_BT.device), origin_N, shape))
        if pays(cost(), packed_shape(trees), tuple(ids_BT.shape)):
            output = _packed(self.base_model, partial(fused, *args, **kwargs), trees, ids_BT, origin_N)
        else:
            output = fused(*args, input_ids=ids_BT, labels=labels_BT, **kwargs)
        if asked:
            asked.put(key, output.log_probs.flatten()[origin_N])
        return output

    model.forward = types.MethodType(forward, model)


def _packed(
    backbone: Any, fused: Callable[..., Any], trees: list[Tree], ids_BT: torch.Tensor, origin_N: torch.Tensor
) -> Any:
    """The output of a pass over packed pairs, laid out as TRL expects it."""
    packed = pack_trees(trees, ids_BT.device)
    scored_N = torch.tensor([at for tree in packed.scored for leaf in tree for at in leaf], device=ids_BT.device)
    with _only(scored_N, backbone):
        output = fused(
            input_ids=packed.ids_RL,
            position_ids=packed.positions_RL,
            attention_mask=packed.mask_RLL[:, None],
            shift_labels=ids_BT[:, 1:].flatten()[origin_N][None],
        )
    for field in ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1"):
        values = getattr(output, field)
        if values is not None:
            setattr(output, field, _spread(values[0], origin_N, (ids_BT.shape[0], ids_BT.shape[1] - 1)))
    return output


@dataclass
class _Known(ModelOutput):
    """What TRL reads of a reference's pass."""

    log_probs: torch.Tensor | None = None


def _trees(
    ids_BT: torch.Tensor, attention_BT: torch.Tensor, labels_BT: torch.Tensor
) -> tuple[list[Tree], torch.Tensor]:
    """The pairs of a batch, and where in ``(2B, T - 1)`` TRL looks for the log-probability of each token of their sides.

    Args:
        ids_BT: Token ids, padded on the right; the first half are the chosen sides, the second half the rejected ones.
        attention_BT: 1 on tokens, 0 on padding.
        labels_BT: The ids of completion tokens, -100 elsewhere.
    """
    columns = ids_BT.shape[1]
    ids = ids_BT.tolist()
    lengths = attention_BT.sum(1).tolist()
    prompts = (attention_BT.bool() & (labels_BT == -100)).sum(1).tolist()
    pairs = len(ids) // 2
    trees: list[Tree] = []
    origin: list[int] = []
    for pair in range(pairs):
        prompt = prompts[pair]
        sides = (pair, pair + pairs)
        trees.append(Tree(ids[pair][:prompt], [ids[side][prompt : lengths[side]] for side in sides]))
        for side in sides:
            origin += range(side * (columns - 1) + prompt - 1, side * (columns - 1) + lengths[side] - 1)
    return trees, torch.tensor(origin, device=ids_BT.device)


def _spread(values_N: torch.Tensor, origin_N: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """The values where TRL looks for them, zeros elsewhere."""
    return values_N.new_zeros(shape[0] * shape[1]).index_put((origin_N,), values_N).view(shape)


@contextmanager
def _only(scored_N: torch.Tensor, backbone: Any) -> Iterator[None]:
    """Hands on the hidden states of these positions alone, as one row."""

    def keep(_module: Any, _args: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state.flatten(0, 1)[scored_N][None]
        return output

    hook = backbone.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()
