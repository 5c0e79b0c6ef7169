"""LoRA in vLLM's engine on a GPU without a wait in every step.

Its kernels are told which tokens belong to which adapter. vLLM (0.26 to 0.29) sorts and counts them on the GPU and asks for the result,
so that a step with adapters is not prepared before the last one has ended; without adapters the two overlap. Here they are counted on
the CPU, which knows them anyway, and sent along.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from vllm.lora.punica_wrapper import punica_gpu

if TYPE_CHECKING:
    from vllm.lora.layers import LoRAMapping
    from vllm.lora.ops.triton_ops import LoRAKernelMeta

__all__ = ["CountedLoRA", "GPULoRA", "fill"]


class CountedLoRA(punica_gpu.PunicaWrapperGPU):  # type: ignore[misc]  # final for vLLM's own code
    """Tells vLLM's kernels whose tokens are whose without asking the GPU."""

    def update_metadata(
        self, mapping: "LoRAMapping", lora_index_to_id: list[int | None], *arguments: Any, **options: Any
    ) -> None:
        """Whose row is whose, once a step."""
        slots = {adapter: slot for slot, adapter in enumerate(lora_index_to_id) if adapter is not None} | {0: -1}
        for meta, adapters in (
            (self.token_mapping_meta, mapping.index_mapping),
            (self.prompt_mapping_meta, mapping.prompt_mapping),
        ):
            rows = np.fromiter((slots[adapter] for adapter in adapters), np.int32, len(adapters))
            meta.prepare_tensors = partial(fill, meta, rows)  # type: ignore[method-assign]
        super().update_metadata(mapping, lora_index_to_id, *arguments, **options)


def fill(meta: "LoRAKernelMeta", slots: NDArray[np.int32], on_device: torch.Tensor) -> None:
    """Leave in the tensors of ``meta`` what its own ``prepare_tensors`` does, sent in one copy that nothing waits for.

    Args:
        meta: What the kernels read.
        slots: Slot of each row's adapter; -1 for none.
        on_device: The same as vLLM hands it to ``prepare_tensors``; its numbers are not read.

    Raises:
        ValueError: The two are not equally long.
    """
    if len(slots) != len(on_device):
        raise ValueError(f"vLLM computes {len(on_device)} rows, and {len(slots)} were mapped to adapters")
    found, tally = np.unique(slots, return_counts=True)
    without = bool(len(found) == 1 and found[0] == -1)
    places = len(meta.active_lora_ids)
    active, counts, starts = np.full(places, -1), np.zeros(places), np.zeros(places + 1)
    targets = [meta.active_lora_ids, meta.num_tokens_per_lora, meta.lora_token_start_loc]
    sources = [active, counts, starts]
    if not without:
        active[: len(found)], counts[: len(found)], starts[1 : 1 + len(found)] = found, tally, tally.cumsum()
        targets += [meta.token_lora_mapping[: len(slots)], meta.token_indices_sorted_by_lora_ids[: len(slots)]]
        sources += [slots, slots.argsort(kind="stable")]
    meta.no_lora_flag_cpu[0] = without
    meta.num_active_loras_cpu[0] = 0 if without else _captured(meta, len(found))
    packed = torch.from_numpy(np.concatenate(sources).astype(np.int32))
    if on_device.is_cuda:
        packed = packed.pin_memory()
    sent = packed.to(on_device.device, non_blocking=True).split([len(source) for source in sources])
    for target, source in zip(targets, sent, strict=True):
        target.copy_(source, non_blocking=True)


def _captured(meta: "LoRAKernelMeta", number: int) -> int:
    """The number of adapters of the graph that is replayed: the next larger one of those that were captured, if any were."""
    return next((captured for captured in meta.captured_lora_counts if captured >= number), number)


class GPULoRA:
    """Named as an engine's ``worker_extension_cls``, for which vLLM imports this module where the engine computes."""


# vLLM looks the class up by name when it loads the model.
punica_gpu.PunicaWrapperGPU = CountedLoRA  # type: ignore[misc]
