"""An adapter that the engine would apply only in part is refused: it would answer as somebody else."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from character_ray.config import EngineConfig
from character_ray.errors import AdapterError
from character_ray.live_adapter import check_live
from character_ray.vllm_options import engine_kwargs


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Writes an adapter that changes the named layers."""

    def write(*layers: str, **config: object) -> Path:
        names = [f"base_model.model.{layer}.lora_{factor}.weight" for layer in layers for factor in "AB"]
        save_file({name: np.zeros((2, 2), np.float32) for name in names}, tmp_path / "adapter_model.safetensors")
        (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 2, **config}))
        return tmp_path

    return write


def targets(**vllm: object) -> list[str] | None:
    """What an engine of the recipe wraps."""
    wrapped: list[str] | None = engine_kwargs(EngineConfig(vllm=vllm), adapter_rank=8)["lora_target_modules"]
    return wrapped


def test_layers_that_the_engine_wraps_are_accepted(make: Callable[..., Path]):
    layers = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.experts.3.down_proj"]
    check_live(make(*layers, rank_pattern={}, use_dora=False), "Pirate", targets())


@pytest.mark.parametrize("layer", ["lm_head", "model.embed_tokens", "model.layers.0.mlp.gate"])
def test_a_layer_that_the_engine_leaves_alone_is_named(layer: str, make: Callable[..., Path]):
    folder = make("model.layers.0.self_attn.q_proj", layer)
    with pytest.raises(AdapterError, match=rf"changes {layer.rpartition('.')[2]}, which") as caught:
        check_live(folder, "Pirate", targets())
    assert "lora_target_modules" in str(caught.value)


def test_the_remedy_of_the_message_works(make: Callable[..., Path]):
    folder = make("model.layers.0.self_attn.q_proj", "lm_head")
    check_live(folder, "Pirate", targets(lora_target_modules=["q_proj", "lm_head"]))
    check_live(folder, "Pirate", targets(lora_target_modules=None))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rank_pattern", {"q_proj": 4}),
        ("alpha_pattern", {"q_proj": 4}),
        ("use_dora", True),
        ("modules_to_save", ["lm_head"]),
    ],
)
def test_what_the_engine_does_not_read_is_named(key: str, value: object, make: Callable[..., Path]):
    with pytest.raises(AdapterError, match=key):
        check_live(make("model.layers.0.self_attn.q_proj", **{key: value}), "Pirate", targets())
