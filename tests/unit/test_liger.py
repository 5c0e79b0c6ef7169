"""Where Liger's kernels are used; what they compute is tested on a GPU."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from transformers.models.llama import modeling_llama

from character_ray.config import ClusterTrainConfig
from character_ray.errors import TrainingError
from character_ray.training.liger import in_one_row, use_liger


@pytest.fixture
def patched(monkeypatch) -> list[tuple[str, dict[str, bool]]]:
    """A library that knows two types of models and writes down what it patches."""
    calls: list[tuple[str, dict[str, bool]]] = []
    package, transformers, patch = (
        ModuleType(f"liger_kernel{name}") for name in ("", ".transformers", ".transformers.monkey_patch")
    )
    package.__spec__ = SimpleNamespace(name="liger_kernel")
    patch.MODEL_TYPE_TO_APPLY_LIGER_FN = {"llama": None, "gemma": None}
    patch._apply_liger_kernel_to_instance = lambda model, **kwargs: calls.append((model.config.model_type, kwargs))
    for module in (package, transformers, patch):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def model_of(architecture: str) -> SimpleNamespace:
    model = type("Model", (SimpleNamespace,), {"__module__": modeling_llama.__name__})
    return model(config=SimpleNamespace(model_type=architecture))


def test_by_default_on_gpus_for_models_it_was_tried_on(patched, monkeypatch):
    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", plain := modeling_llama.apply_rotary_pos_emb)
    assert use_liger(model_of("llama"), ClusterTrainConfig())
    assert modeling_llama.apply_rotary_pos_emb.__wrapped__ is plain
    assert not use_liger(model_of("gemma"), ClusterTrainConfig())
    assert not use_liger(model_of("llama"), ClusterTrainConfig(device="cpu", precision="float32"))
    assert not use_liger(model_of("llama"), ClusterTrainConfig(liger=False))
    assert not use_liger(model_of("llama"), ClusterTrainConfig(in_process=True, zero_stage=0))
    assert patched == [("llama", {"cross_entropy": False, "fused_linear_cross_entropy": False})]


def test_asked_for_it_is_used_on_all_it_knows_and_refuses_others(patched):
    assert use_liger(model_of("gemma"), ClusterTrainConfig(liger=True))
    with pytest.raises(TrainingError, match=r"no kernels for models of type 'mamba'\. It knows gemma, llama"):
        use_liger(model_of("mamba"), ClusterTrainConfig(liger=True))
    assert len(patched) == 1


def test_without_the_library_the_default_does_without_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    assert not use_liger(model_of("llama"), ClusterTrainConfig())


@pytest.mark.parametrize("own_positions", [False, True])
def test_rows_are_rotated_as_one_row(own_positions):
    rows, length, width = 3, 5, 8
    generator = torch.Generator().manual_seed(0)
    q, k = (
        torch.randn(rows, length, heads, width, generator=generator).transpose(1, 2).requires_grad_()
        for heads in (4, 2)
    )
    cos, sin = torch.randn(2, rows if own_positions else 1, length, width, generator=generator)
    seen = []

    def rotary(q, k, cos, sin):
        seen.append((len(q), len(cos), q.transpose(1, 2).is_contiguous()))
        return modeling_llama.apply_rotary_pos_emb(q, k, cos, sin)

    found, expected = in_one_row(rotary)(q, k, cos, sin), modeling_llama.apply_rotary_pos_emb(q, k, cos, sin)
    assert seen == [(1, 1, True)]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
        gradients = [torch.autograd.grad(x.square().sum(), (q, k), allow_unused=True) for x in (ours, theirs)]
        assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True) if a is not None)
