"""Compiled layers compute what plain ones do, in two graphs for all rows and layers, and only while training."""

import functools

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch._dynamo.utils import counters
from transformers import AutoModelForCausalLM

from character_ray.training.compiled_layers import compile_layers
from character_ray.training.fused_lora import fuse_lora


@pytest.fixture(autouse=True)
def traced_only(monkeypatch):
    """What is traced is run as it is: a test of what is compiled, and when, needs no compiler on the machine."""
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    yield
    torch._dynamo.reset()


def adapted(base):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    targets = ["q_proj", "v_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    fuse_lora(model)
    return model.train()


def step(model, rows: int, length: int):
    """Reference logits, policy logits and the gradient of the factors, as DPO asks for them."""
    ids = torch.arange(5, 5 + rows * length).view(rows, length)
    model.zero_grad()
    with torch.no_grad(), model.disable_adapter():
        reference = model(input_ids=ids, use_cache=False).logits
    output = model(input_ids=ids, labels=ids, use_cache=False)
    output.loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return reference, output.logits.detach(), gradient


def test_policy_reference_and_gradient_are_the_plain_model_s_in_two_graphs_for_all_shapes(tiny_base):
    plain, compiled = adapted(tiny_base), adapted(tiny_base)
    assert compile_layers(compiled) == 2
    for rows, length in ((2, 12), (3, 40), (5, 23)):
        for found, exact in zip(step(compiled, rows, length), step(plain, rows, length), strict=True):
            assert found.shape == exact.shape
            assert torch.allclose(found, exact, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == 2  # one with adapters and gradient, one without both
    assert not counters["graph_break"]


def test_answers_and_evaluation_are_not_compiled(tiny_base):
    model = adapted(tiny_base)
    compile_layers(model)
    ids = torch.arange(5, 15)[None]
    model.eval()
    model(input_ids=ids)
    model.train()
    model(input_ids=ids, use_cache=True)
    assert not counters["stats"]["unique_graphs"]
    model(input_ids=ids, use_cache=False)
    assert counters["stats"]["unique_graphs"] == 1
