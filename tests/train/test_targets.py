"""Layers to train are checked against the model before anything is trained."""

import logging
from pathlib import Path

import pytest

from character_ray.config import LoRAConfig
from character_ray.errors import RecipeError
from character_ray.training.targets import check_targets, linear_layers


def test_the_default_covers_every_linear_layer_of_a_block(tiny_base: Path):
    layers = linear_layers(tiny_base)
    targets = LoRAConfig().target_modules
    check_targets("dpo.lora", targets, tiny_base)
    assert {layer.rpartition(".")[2] for layer in layers} == set(targets)
    assert len(layers) == 2 * len(targets)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            ("q_proj", "fc1", "fc2"),
            r"dpo\.lora\.target_modules: fc1, fc2 match no linear layer .* Its layers are down_proj, .*v_proj",
        ),
        (("q_proj", "v_proj"), r"leave out the whole MLP .* Add down_proj, gate_proj, up_proj"),
        (("proj",), "proj matches no linear layer"),
    ],
)
def test_targets_that_match_nothing_or_miss_the_mlp_are_refused_with_the_models_names(tiny_base, targets, message):
    with pytest.raises(RecipeError, match=message):
        check_targets("dpo.lora", targets, tiny_base)


def test_a_router_left_out_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    from transformers import Qwen3MoeConfig

    Qwen3MoeConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, num_experts=4, vocab_size=64
    ).save_pretrained(tmp_path)
    attention = ["q_proj", "k_proj", "v_proj", "o_proj"]
    with caplog.at_level(logging.WARNING):
        check_targets("dpo.lora", attention, tmp_path)
    assert "leave out the router" in caplog.text


def test_a_dense_model_has_no_router_to_warn_about(tiny_base: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        check_targets("dpo.lora", LoRAConfig().target_modules, tiny_base)
    assert not caplog.records
