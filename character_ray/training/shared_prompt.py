"""One forward pass for both sides of a pair, in which their prompt is read once and nothing is padded that can be packed.

TRL's batch holds ``(prompt, chosen)`` rows and then ``(prompt, rejected)`` rows, each padded to the longest. Here a pair is one
sequence ``prompt chosen rejected`` in which ``rejected`` does not see ``chosen`` and both are numbered from the prompt's end. Pairs share
a row where they fit, and the output layer sees only the positions that predict a completion's token. The log-probabilities are
TRL's up to rounding. Source: prefix sharing for DPO, arXiv 2410.20305.

    (2B, T) ids  ->  (R, L) packed ids  ->  (1, N) scored positions  ->  (2B, T - 1) log-probabilities

where N counts the completion tokens of the batch.
"""

import dataclasses
import functools
import inspect
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["Packing", "can_share", "pack", "share_prompts"]

PADDING, PROMPT, CHOSEN, REJECTED = range(4)


@dataclasses.dataclass(frozen=True)
class Packing:
    """A batch of pairs as packed rows, and where its log-probabilities come from and go to."""

    ids_RL: torch.Tensor
    """Token ids, shape ``(R, L)``."""

    positions_RL: torch.Tensor
    """Position of each token within its pair's prompt and side."""

    mask_R1LL: torch.Tensor
    """True where a token (third axis) sees another (fourth)."""

    scored_N: torch.Tensor
    """Flat index in ``(R, L)`` of each position that predicts a completion's token."""

    targets_N: torch.Tensor
    """The token to predict there."""

    origin_N: torch.Tensor
    """Flat index in ``(2B, T - 1)``, where TRL looks for its log-probability."""


def can_share(model: Any) -> bool:
    """Whether every layer of a model takes an explicit attention mask: full attention by PyTorch's SDPA, position ids, no router loss."""
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


def pack(ids_BT: torch.Tensor, attention_BT: torch.Tensor, labels_BT: torch.Tensor) -> Packing:
    """Pack a batch of TRL's; its first half are the chosen sides, its second half the rejected ones, padded on the right.

    Args:
        ids_BT: Token ids, shape ``(2B, T)``.
        attention_BT: 1 on tokens, 0 on padding.
        labels_BT: The ids of completion tokens, -100 elsewhere.
    """
    device, columns = ids_BT.device, ids_BT.shape[1]
    lengths = attention_BT.sum(1).tolist()
    prompts = (attention_BT.bool() & (labels_BT == -100)).sum(1).tolist()
    pairs = len(lengths) // 2
    sizes = [lengths[pair] + lengths[pair + pairs] - prompts[pair] for pair in range(pairs)]
    rows = _fill(sizes)
    width = max(sum(sizes[pair] for pair in row) for row in rows)
    source, kind, owner, position = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(4))
    scored, origin = [], []
    for number, row in enumerate(rows):
        start = 0
        for pair in row:
            prompt = prompts[pair]
            piece = slice(start, start + sizes[pair])
            chosen, rejected = lengths[pair] - prompt, lengths[pair + pairs] - prompt
            owner[number, piece] = pair + 1
            kind[number, piece] = torch.tensor([PROMPT] * prompt + [CHOSEN] * chosen + [REJECTED] * rejected)
            in_chosen, in_rejected = torch.arange(prompt + chosen), torch.arange(prompt, prompt + rejected)
            position[number, piece] = torch.cat([in_chosen, in_rejected])
            source[number, piece] = torch.cat([pair * columns + in_chosen, (pair + pairs) * columns + in_rejected])
            for side, length, first in ((pair, chosen, prompt), (pair + pairs, rejected, prompt + chosen)):
                # A side's first token is predicted by the prompt's last, the others by the token before.
                at = torch.arange(start + first - 1, start + first + length - 1)
                at[:1] = start + prompt - 1
                scored.append(number * width + at)
                origin.append(side * (columns - 1) + torch.arange(prompt - 1, prompt + length - 1))
            start += sizes[pair]
    kind, owner, source = kind.to(device), owner.to(device), source.to(device)
    sees = (owner[:, :, None] == owner[:, None, :]) & torch.ones(width, width, dtype=torch.bool, device=device).tril()
    sees &= (kind[:, None, :] <= PROMPT) | (kind[:, :, None] == kind[:, None, :])
    origin_N = torch.cat(origin).to(device)
    return Packing(
        ids_BT.flatten()[source],
        position.to(device),
        sees[:, None],
        torch.cat(scored).to(device),
        ids_BT[:, 1:].flatten()[origin_N],
        origin_N,
    )


def share_prompts(model: Any) -> None:
    """Patch a causal language model so that TRL's ``fused_lm_head`` passes over pairs run packed; others run as before.

    Args:
        model: The base model, after ``trl.trainer.utils.add_fused_lm_head`` and before it is prepared for training.
    """
    fused = model.forward

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("fused_lm_head"):
            return fused(*args, **kwargs)
        ids_BT, labels_BT = kwargs.pop("input_ids"), kwargs.pop("labels")
        packing = pack(ids_BT, kwargs.pop("attention_mask"), labels_BT)
        with _only(packing.scored_N, self.base_model):
            output = fused(
                *args,
                input_ids=packing.ids_RL,
                position_ids=packing.positions_RL,
                attention_mask=packing.mask_R1LL,
                shift_labels=packing.targets_N[None],
                **kwargs,
            )
        shape = (ids_BT.shape[0], ids_BT.shape[1] - 1)
        for field in ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1"):
            values = getattr(output, field)
            if values is not None:
                spread = values.new_zeros(shape[0] * shape[1]).index_put((packing.origin_N,), values[0])
                setattr(output, field, spread.view(shape))
        return output

    model.forward = types.MethodType(forward, model)


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


def _fill(sizes: list[int]) -> list[list[int]]:
    """Pairs per row, first fit by falling size; no row is longer than the largest pair."""
    rows: list[list[int]] = []
    room: list[int] = []
    for pair in sorted(range(len(sizes)), key=lambda pair: -sizes[pair]):
        row = next((row for row, left in enumerate(room) if left >= sizes[pair]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(max(sizes))
        rows[row].append(pair)
        room[row] -= sizes[pair]
    return rows
