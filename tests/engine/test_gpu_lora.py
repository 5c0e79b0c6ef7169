"""vLLM's kernels for GPUs are told the same as by vLLM's own count; the tensors lie on the CPU here."""

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.ops.triton_ops.lora_kernel_metadata import LoRAKernelMeta
from vllm.lora.punica_wrapper import punica_gpu
from vllm.utils.import_utils import resolve_obj_by_qualname

from character_ray.config import EngineConfig
from character_ray.inference.gpu_lora import CountedLoRA, GPULoRA, fill
from character_ray.vllm_options import engine_kwargs

SLOTS, ROWS = 5, 64


def test_an_engine_on_a_gpu_computes_by_it():
    named = engine_kwargs(EngineConfig(), adapter_rank=8)["worker_extension_cls"]
    assert resolve_obj_by_qualname(named) is GPULoRA
    # What vLLM's platform names on a GPU.
    assert resolve_obj_by_qualname("vllm.lora.punica_wrapper.punica_gpu.PunicaWrapperGPU") is CountedLoRA


@pytest.mark.parametrize("captured", [None, [1, 2, 4, 6]], ids=["any number", "captured"])
def test_steps_in_a_row_leave_what_vllm_leaves(captured: list[int] | None):
    theirs = LoRAKernelMeta.make(SLOTS, ROWS, "cpu", captured)
    theirs.token_lora_mapping.zero_(), theirs.token_indices_sorted_by_lora_ids.zero_(), theirs.active_lora_ids.zero_()
    ours = copy.deepcopy(theirs)
    draw = np.random.default_rng(0)
    steps = [draw.integers(-1, SLOTS, draw.integers(1, ROWS + 1)) for _ in range(30)]
    steps[5:5], steps[9:9], steps[11:11] = [np.full(7, -1)], [np.full(ROWS, 3)], [np.array([-1])]
    for number, slots in enumerate(steps):
        rows = torch.tensor(slots, dtype=torch.long)
        theirs.prepare_tensors(rows)
        fill(ours, slots.astype(np.int32), rows)
        for field in dataclasses.fields(LoRAKernelMeta):
            expected, found = getattr(theirs, field.name), getattr(ours, field.name)
            same = torch.equal(expected, found) if isinstance(expected, torch.Tensor) else expected == found
            assert same, f"{field.name} of step {number}: {found}, but vLLM has {expected}"


@pytest.mark.parametrize("ids", [(50, 0, 70, 70, 0, 50), (0, 0), (70,)], ids=["mixed", "none", "lone"])
def test_a_wrapper_hands_on_what_its_base_class_does(monkeypatch: pytest.MonkeyPatch, ids: tuple[int, ...]):
    # vLLM imports it there where it finds Triton.
    monkeypatch.setattr(punica_gpu, "LoRAKernelMeta", LoRAKernelMeta, raising=False)
    config = SimpleNamespace(max_loras=2, specialize_active_lora=False)
    device = torch.device("cpu")
    ours, theirs = (kind(16, 8, device, lora_config=config) for kind in (CountedLoRA, CountedLoRA.__base__))
    for wrapper in (ours, theirs):
        wrapper.update_metadata(LoRAMapping(ids, ids[:1]), [70, 50], 3, 10)
    for name in ("token_mapping_meta", "prompt_mapping_meta"):
        number = len(ids) if name.startswith("token") else 1
        for found, expected in zip(
            *(getattr(each, name).meta_args(number, False) for each in (ours, theirs)), strict=True
        ):
            if found.numel() != number or any(ids):  # without any adapter vLLM leaves whose rows they were
                torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_rows_that_were_not_mapped_are_named():
    meta = LoRAKernelMeta.make(SLOTS, ROWS, "cpu")
    with pytest.raises(ValueError, match="computes 4 rows, and 3 were mapped"):
        fill(meta, np.zeros(3, np.int32), torch.zeros(4))
