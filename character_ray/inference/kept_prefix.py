"""The beginning that all chats of a judge share, read once: its keys and values are kept, and every batch goes on from them."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from character_ray.prefix_packing import Packed, Tree, pack_trees

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["KeptPrefix", "shared_beginning"]


def shared_beginning(sequences: Sequence[list[int]]) -> int:
    """How many tokens all sequences begin with."""
    first, last = min(sequences), max(sequences)
    return next((i for i, (x, y) in enumerate(zip(first, last, strict=False)) if x != y), min(len(first), len(last)))


class KeptPrefix:
    """Reads trees of tokens behind a fixed prefix.

    Args:
        model: A causal language model.
        ids: Token ids of the prefix; may be empty.
    """

    def __init__(self, model: "PreTrainedModel", ids: Sequence[int]) -> None:
        self.ids, self._model = list(ids), model
        self._read: Any = None
        self._repeated: tuple[int, Any] = (0, None)

    def hidden(self, trees: Sequence[Tree], *, together: bool) -> tuple["torch.Tensor", Packed]:
        """Last hidden states of shape ``(R * L, D)``, and where in them each leaf's tokens are predicted.

        Args:
            trees: What follows the prefix.
            together: Whether the model takes a mask under which several trees share a row; without it a tree has one leaf.
        """
        import torch

        packed = pack_trees(trees, self._model.device, together=together)
        size, longest = packed.ids_RL.shape
        mask = packed.mask_RLL if together else packed.real_RL
        before = torch.ones((*mask.shape[:-1], len(self.ids)), dtype=torch.bool, device=mask.device)
        mask = torch.cat([before, mask], dim=-1)
        with torch.inference_mode():
            cache = self._cache(size)
            states_RLD = self._model.base_model(
                input_ids=packed.ids_RL,
                attention_mask=mask[:, None] if together else mask.long(),
                position_ids=packed.positions_RL + len(self.ids),
                past_key_values=cache,
                use_cache=cache is not None,
            ).last_hidden_state
            if cache is not None:
                cache.crop(-longest)
        return states_RLD.flatten(0, 1), packed

    def rest(self) -> None:
        """Keep the prefix once and no longer once for each row of the last batch."""
        self._repeated = (0, None)

    def _cache(self, size: int) -> Any:
        """Keys and values of the prefix for a batch of this size; cropped back to the prefix after each use."""
        import torch

        if not self.ids:
            return None
        if self._read is None:
            ids = torch.tensor([self.ids], device=self._model.device)
            self._read = self._model.base_model(input_ids=ids, use_cache=True).past_key_values
        if self._repeated[0] != size:
            cache = copy.deepcopy(self._read)
            cache.batch_repeat_interleave(size)
            self._repeated = (size, cache)
        return self._repeated[1]
