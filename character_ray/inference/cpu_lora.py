"""LoRA layers of vLLM's engine on a CPU: one product for each adapter in a step.

vLLM 0.29 copies the adapter's weights for every token before it multiplies, and takes a token without an adapter (index -1) for one of
the last slot's: what the base answers beside a persona is then the persona's (vLLM's pull requests 48421 and 49656, open when this was
written). Its kernels for GPUs do neither.
"""

from collections.abc import Sequence
from typing import Any

import torch
from vllm.lora.punica_wrapper import punica_cpu

__all__ = ["CPULoRA", "GroupedLoRA"]


class GroupedLoRA(punica_cpu.PunicaWrapperCPU):
    """Takes the tokens of an adapter together, and leaves tokens without one as they are.

    In the linear layers that an engine of ours wraps. An output layer that ``engine.vllm`` has wrapped too, and layers sharded fully,
    are computed as vLLM does.
    """

    _groups: Sequence[tuple[int, torch.Tensor | None]] = ()
    """Slots in the step, each with its rows; ``None`` for all rows."""

    def update_metadata(self, *arguments: Any, **options: Any) -> None:
        """Which rows belong to which slot, once a step."""
        super().update_metadata(*arguments, **options)
        slots = self.token_lora_indices
        distinct = torch.unique(slots).tolist()
        self._groups = [
            (slot, (slots == slot).nonzero().flatten() if len(distinct) > 1 else None) for slot in distinct if slot >= 0
        ]

    # Without vLLM's ``**kwargs``: what another version of it passes must not be passed over.
    def add_lora_linear(  # type: ignore[override]
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[torch.Tensor, ...] | None = None,
        add_inputs: bool = True,
    ) -> None:
        """Add what the adapters add to a layer that several projections may share.

        Args:
            y: The layer's output, tokens x sum of ``output_slices``; changed in place.
            x: Its input, tokens x width.
            lora_a_stacked: For each projection slots x 1 x rank x width.
            lora_b_stacked: For each projection slots x 1 x the projection's width x rank.
            scale: What every product is multiplied by.
            output_slices: Width of each projection's output.
            buffer: vLLM's place for the inner products; not needed here.
            add_inputs: Whether ``y`` is kept and added to.
        """
        x, y = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        if not add_inputs:
            y.zero_()
        for slot, rows in self._groups:
            inputs = (x if rows is None else x[rows]).to(lora_a_stacked[0].dtype)
            start = 0
            for lora_a, lora_b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                added = (scale * (inputs @ lora_a[slot, 0].T) @ lora_b[slot, 0].T).to(y.dtype)
                part = y.narrow(1, start, width)
                if rows is None:
                    part += added
                else:
                    part.index_add_(0, rows, added)
                start += width


class CPULoRA:
    """Named as an engine's ``worker_extension_cls``, for which vLLM imports this module where the engine computes."""


# vLLM looks the class up by name when it loads the model.
punica_cpu.PunicaWrapperCPU = GroupedLoRA  # type: ignore[misc]
