"""Padding on the right is read without a mask; what is trained on stays the same."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from character_ray.training.right_padding import unmask_right_padding

IDS = torch.arange(5, 41).view(3, 12)
LENGTHS = torch.tensor([12, 5, 8])
RIGHT = (torch.arange(12) < LENGTHS[:, None]).long()


@pytest.fixture
def model(tiny_base):
    return AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)


def masks_of(model) -> list[torch.Tensor | None]:
    """What the layers are given from now on, behind the hook under test."""
    seen: list[torch.Tensor | None] = []
    model.base_model.layers[0].register_forward_pre_hook(
        lambda _layer, _args, kwargs: seen.append(kwargs["attention_mask"]), with_kwargs=True
    )
    return seen


def step(adapted):
    adapted.zero_grad()
    output = adapted(input_ids=IDS, attention_mask=RIGHT, labels=IDS.masked_fill(RIGHT == 0, -100))
    output.loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in adapted.parameters() if p.grad is not None])
    return float(output.loss.detach()), gradient


def test_loss_and_gradient_are_those_under_the_mask(model):
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    masked = step(adapted)
    unmask_right_padding(adapted.get_base_model())
    seen = masks_of(adapted.get_base_model())
    unmasked = step(adapted)
    assert seen == [None]
    assert unmasked[0] == pytest.approx(masked[0], rel=1e-6)
    assert float((unmasked[1] - masked[1]).norm()) < 1e-5 * float(masked[1].norm())
    assert float(masked[1].norm()) > 0


@pytest.mark.parametrize("mask", [RIGHT.flip(1), RIGHT & (torch.arange(12) != 2).long()], ids=["left", "hole"])
def test_padding_elsewhere_stays_masked(model, mask):
    with torch.no_grad():
        expected = model(input_ids=IDS, attention_mask=mask).logits
        unmask_right_padding(model)
        seen = masks_of(model)
        found = model(input_ids=IDS, attention_mask=mask).logits
    assert seen[0] is not None
    assert torch.equal(found, expected)


def test_what_is_generated_stays_the_same(model):
    left = RIGHT.flip(1)
    settings = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 2}
    expected = model.generate(input_ids=IDS, attention_mask=left, **settings)
    unmask_right_padding(model)
    assert torch.equal(model.generate(input_ids=IDS, attention_mask=left, **settings), expected)


def test_a_router_that_counts_tokens_by_the_mask_keeps_it(model):
    model.config.output_router_logits = True
    unmask_right_padding(model)
    seen = masks_of(model)
    with torch.no_grad():
        model(input_ids=IDS, attention_mask=RIGHT)
    assert seen[0] is not None
