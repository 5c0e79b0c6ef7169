"""Layers to train are checked against the model before anything is trained."""

import logging
from pathlib import Path

import pytest
from transformers import Llama4TextConfig, MixtralConfig, Qwen3MoeConfig

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


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MIXTURE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}


@pytest.fixture(params=["qwen3", "mixtral"])
def mixture(tmp_path: Path, request) -> Path:
    """A model whose experts lie in one tensor a layer, as transformers keeps them."""
    kind = (
        Qwen3MoeConfig(**MIXTURE, num_experts=4, moe_intermediate_size=16)
        if request.param == "qwen3"
        else MixtralConfig(**MIXTURE, num_local_experts=4, intermediate_size=16)
    )
    kind.save_pretrained(tmp_path)
    return tmp_path


def test_of_a_mixture_it_is_said_what_stays_untrained_and_why(mixture: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        check_targets("dpo.lora", ATTENTION, mixture)
    (record,) = caplog.records
    experts, router = 2 * 4 * 3 * 32 * 16, 2 * 4 * 32
    assert "dpo.lora trains q_proj, k_proj, v_proj, o_proj of" in record.message
    assert (
        "mlp.experts.down_proj and mlp.experts.gate_up_proj and mlp.gate.weight stay as in the base" in record.message
    )
    assert f"{experts + router:,} parameters" in record.message
    assert "no linear layers" in record.message


@pytest.mark.parametrize("targets", [LoRAConfig().target_modules, (*ATTENTION, "gate"), (*ATTENTION, "experts")])
def test_the_experts_of_a_mixture_are_refused_as_targets_with_the_remedy(mixture: Path, targets):
    with pytest.raises(
        RecipeError, match=r"tensors of their own \(mlp\.experts\.down_proj, .*leave their layers out, to train"
    ):
        check_targets("dpo.lora", targets, mixture)


def test_a_router_that_is_a_linear_layer_is_warned_about_until_it_is_a_target(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    Llama4TextConfig(
        **MIXTURE, num_local_experts=4, intermediate_size=16, intermediate_size_mlp=16, head_dim=8
    ).save_pretrained(tmp_path)
    targets = LoRAConfig().target_modules
    with caplog.at_level(logging.WARNING):
        check_targets("dpo.lora", targets, tmp_path)
    assert [record.message for record in caplog.records if "leave out the router" in record.message]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        check_targets("dpo.lora", (*targets, "router"), tmp_path)
    assert not [record.message for record in caplog.records if "leave out the router" in record.message]


def test_a_dense_model_has_no_router_to_warn_about(tiny_base: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        check_targets("dpo.lora", LoRAConfig().target_modules, tiny_base)
    assert not caplog.records
