"""A token gets what its own adapter adds, and nothing where it has none."""

import pytest
import torch
from vllm.lora.layers import LoRAMapping
from vllm.platforms.cpu import CpuPlatform
from vllm.utils.import_utils import resolve_obj_by_qualname

from character_ray.config import EngineConfig
from character_ray.inference.cpu_lora import CPULoRA, GroupedLoRA
from character_ray.vllm_options import engine_kwargs

WIDTHS, RANK, INPUTS, SCALE = (6, 2, 4), 3, 5, 0.5
IDS_OF_SLOTS = [70, 50]


def test_an_engine_on_a_cpu_computes_by_it():
    named = engine_kwargs(EngineConfig(device="cpu"), adapter_rank=8)["worker_extension_cls"]
    assert resolve_obj_by_qualname(named) is CPULoRA
    assert resolve_obj_by_qualname(CpuPlatform.get_punica_wrapper()) is GroupedLoRA


def layer(draw: torch.Generator) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    slots = len(IDS_OF_SLOTS)
    inner = tuple(torch.randn(slots, 1, RANK, INPUTS, generator=draw) for _ in WIDTHS)
    return inner, tuple(torch.randn(slots, 1, width, RANK, generator=draw) for width in WIDTHS)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("is_prefill", [False, True])
@pytest.mark.parametrize(
    "ids", [[50, 0, 70, 70, 0, 50], [50] * 4, [0, 0, 0], [0, 70], [50]], ids=["mixed", "one", "none", "last", "lone"]
)
def test_every_token_gets_its_own_adapter(ids: list[int], is_prefill: bool, dtype: torch.dtype, tolerance: float):
    draw = torch.Generator().manual_seed(0)
    inner, outer = layer(draw)
    x, y = torch.randn(len(ids), INPUTS, generator=draw), torch.randn(len(ids), sum(WIDTHS), generator=draw)
    expected = y.clone()
    for row, adapter in enumerate(ids):
        if adapter:
            slot = IDS_OF_SLOTS.index(adapter)
            added = [outer[each][slot, 0] @ (inner[each][slot, 0] @ x[row]) for each in range(len(WIDTHS))]
            expected[row] += SCALE * torch.cat(added)
    wrapper = GroupedLoRA(16, 8, torch.device("cpu"))
    wrapper.update_metadata(LoRAMapping(tuple(ids), tuple(ids), is_prefill), IDS_OF_SLOTS, len(IDS_OF_SLOTS), 10)
    inner, outer = (tuple(each.to(dtype) for each in side) for side in (inner, outer))
    y, before, alone = (y.clone().to(dtype) for _ in range(3))
    wrapper.add_lora_linear(y, x.to(dtype), inner, outer, SCALE, WIDTHS)
    torch.testing.assert_close(y.float(), expected, rtol=tolerance, atol=tolerance)
    wrapper.add_lora_linear(alone, x.to(dtype), inner, outer, SCALE, WIDTHS, add_inputs=False)
    torch.testing.assert_close(alone.float(), expected - before.float(), rtol=tolerance, atol=tolerance)
    without = torch.tensor([not adapter for adapter in ids])
    assert torch.equal(y[without], before[without]), "the base says what it says without personas beside it"


def test_the_next_step_forgets_the_last():
    draw = torch.Generator().manual_seed(1)
    inner, outer = layer(draw)
    wrapper = GroupedLoRA(16, 8, torch.device("cpu"))
    for ids, changed in (([50, 70], True), ([0, 0], False)):
        wrapper.update_metadata(LoRAMapping(tuple(ids), tuple(ids)), IDS_OF_SLOTS, len(IDS_OF_SLOTS), 10)
        y = torch.zeros(2, sum(WIDTHS))
        wrapper.add_lora_linear(y, torch.ones(2, INPUTS), inner, outer, SCALE, WIDTHS)
        assert bool(y.abs().sum()) is changed
