"""Where Liger's kernels are used; what they compute is tested on a GPU."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from character_ray.config import ClusterTrainConfig
from character_ray.errors import TrainingError
from character_ray.training.liger import use_liger


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
    return SimpleNamespace(config=SimpleNamespace(model_type=architecture))


def test_by_default_on_gpus_for_models_it_was_tried_on(patched):
    assert use_liger(model_of("llama"), ClusterTrainConfig())
    assert not use_liger(model_of("gemma"), ClusterTrainConfig())
    assert not use_liger(model_of("llama"), ClusterTrainConfig(device="cpu", precision="float32"))
    assert not use_liger(model_of("llama"), ClusterTrainConfig(liger=False))
    assert patched == [("llama", {"cross_entropy": False, "fused_linear_cross_entropy": False})]


def test_asked_for_it_is_used_on_all_it_knows_and_refuses_others(patched):
    assert use_liger(model_of("gemma"), ClusterTrainConfig(liger=True))
    with pytest.raises(TrainingError, match=r"no kernels for models of type 'mamba'\. It knows gemma, llama"):
        use_liger(model_of("mamba"), ClusterTrainConfig(liger=True))
    assert len(patched) == 1


def test_without_the_library_the_default_does_without_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    assert not use_liger(model_of("llama"), ClusterTrainConfig())
