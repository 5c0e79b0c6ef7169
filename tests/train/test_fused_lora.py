"""Fused LoRA layers change the time of a step, not what it computes."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from character_ray.training.fused_lora import fuse_lora


def adapted(base, dropout: float = 0.0, dtype: torch.dtype = torch.float32, layers=("q_proj", "down_proj"), **further):
    """A model with a trained adapter and one on top of it, both active, whose factors are all random."""
    torch.manual_seed(0)

    def config(rank: int) -> LoraConfig:
        return LoraConfig(
            r=rank, lora_alpha=8, lora_dropout=dropout, target_modules=list(layers), task_type="CAUSAL_LM", **further
        )

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), config(4))
    model.add_adapter("parent", config(2))
    model.base_model.set_adapter(["default", "parent"])
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
            parameter.requires_grad_(".parent." not in name)
    return model.train()


def both(model):
    fused = copy.deepcopy(model)
    assert fuse_lora(fused) == 4
    return model, fused


def step(model, dtype: torch.dtype | None = None):
    """Logits, and the gradient of every trained factor."""
    ids = torch.arange(5, 41).view(3, 12)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        output = model(input_ids=ids, labels=ids)
    output.loss.backward()
    return output.logits, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def far(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float(((found.double() - exact.double()).norm() / exact.double().norm()).detach())


def test_logits_and_gradients_are_peft_s(tiny_base):
    plain, fused = map(step, both(adapted(tiny_base)))
    assert far(fused[0], plain[0]) < 1e-5
    assert plain[1].keys() == fused[1].keys()
    assert len(plain[1]) == 8
    for name, gradient in plain[1].items():
        assert far(fused[1][name], gradient) < 1e-5, name


def test_under_autocast_it_is_as_near_to_float32_as_peft_is(tiny_base):
    exact = step(adapted(tiny_base))
    plain, fused = (step(model, torch.bfloat16) for model in both(adapted(tiny_base, dtype=torch.bfloat16)))
    names = list(exact[1])
    # The base's own rounding to bfloat16 is in both.
    assert far(fused[0], exact[0]) < 1.5 * far(plain[0], exact[0])
    assert {fused[1][name].dtype for name in names} == {torch.float32}
    errors = [
        far(torch.cat([found[1][n].flatten() for n in names]), torch.cat([exact[1][n].flatten() for n in names]))
        for found in (fused, plain)
    ]
    assert 0 < errors[0] < 1.5 * errors[1] < 0.2


def test_an_adapter_that_is_inactive_or_disabled_does_not_count(tiny_base):
    plain, fused = both(adapted(tiny_base))
    ids = torch.arange(5, 17)[None]
    stacked = fused(ids).logits
    with plain.disable_adapter(), fused.disable_adapter():
        base = fused(ids).logits
        assert torch.equal(base, plain(ids).logits)
    for model in (plain, fused):
        model.base_model.set_adapter(["default"])
    alone = fused(ids).logits
    assert far(alone, plain(ids).logits) < 1e-5
    assert min(far(alone, stacked), far(alone, base), far(stacked, base)) > 1e-3


def test_leaving_the_adapters_out_changes_no_gradient_and_ends_with_the_block(tiny_base):
    plain, fused = both(adapted(tiny_base))
    expected = step(plain)
    with pytest.raises(KeyError), fused.disable_adapter(), fused.disable_adapter():
        raise KeyError
    with torch.no_grad(), fused.disable_adapter():
        fused(torch.arange(5, 17)[None])
    found = step(fused)
    assert far(found[0], expected[0]) < 1e-5
    assert found[1].keys() == expected[1].keys()


def test_peft_leaves_adapters_out_where_some_layer_is_not_fused(tiny_base):
    model = adapted(tiny_base, layers=("q_proj", "embed_tokens"))
    assert fuse_lora(model) == 2
    ids = torch.arange(5, 17)[None]
    with model.disable_adapter():
        left_out = model(ids).logits
    assert far(left_out, model.unload()(ids).logits) < 1e-6


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_draws_as_in_peft(tiny_base, dropout):
    model, fused = both(adapted(tiny_base, dropout))
    plain, found = step(model), step(fused)
    assert far(found[0], plain[0]) < 1e-5
    ids = torch.arange(5, 17)[None]
    assert far(fused.eval()(ids).logits, model.eval()(ids).logits) < 1e-5


def test_number_formats_that_differ_outside_autocast_are_left_to_peft(tiny_base):
    plain, fused = both(adapted(tiny_base, dtype=torch.bfloat16))
    ids = torch.arange(5, 17)[None]
    assert torch.equal(fused(ids).logits, plain(ids).logits)


def test_layers_that_do_more_than_the_formula_are_left_alone(tiny_base):
    assert fuse_lora(adapted(tiny_base, use_dora=True)) == 0
    assert fuse_lora(adapted(tiny_base, layers=("embed_tokens",))) == 0
    trained = adapted(tiny_base)
    trained.get_base_model().model.layers[0].self_attn.q_proj.base_layer.weight.requires_grad_(True)
    assert fuse_lora(trained) == 3


def test_a_layer_is_one_operation(tiny_base):
    plain, fused = both(adapted(tiny_base))
    x = torch.ones(1, 3, 32, requires_grad=True)

    def operations(model) -> set[str]:
        waiting, seen = [model.get_base_model().model.layers[0].self_attn.q_proj(x).grad_fn], set()
        while waiting:
            node = waiting.pop()
            seen.add(type(node).__name__)
            waiting += [each for each, _ in node.next_functions if each is not None]
        return seen

    assert "_AdaptedBackward" in operations(fused)
    assert "_AdaptedBackward" not in operations(plain)
    assert "AddBackward0" in operations(plain) - operations(fused)
