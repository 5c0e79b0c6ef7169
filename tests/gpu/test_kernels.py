"""What makes a step faster on a GPU leaves its loss and gradient where PEFT and Transformers put them."""

from pathlib import Path
from typing import Any

import pytest

from character_ray.config import ClusterTrainConfig, ModelConfig
from character_ray.models import resolve_model
from character_ray.training.compiled_layers import compile_layers
from character_ray.training.fused_lora import fuse_lora
from character_ray.training.liger import use_liger

pytestmark = pytest.mark.gpu


def gradient(base: Path, precision: str, kernels: str = "plain") -> Any:
    """Of every factor of a random adapter by the likelihood of one text, as one vector."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = getattr(torch, precision)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).cuda()
    model.config.use_cache = False
    if kernels == "liger":
        assert use_liger(model, ClusterTrainConfig(liger=True))
    torch.manual_seed(0)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(r=16, lora_alpha=16, target_modules=targets, task_type="CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    if kernels != "plain":
        assert fuse_lora(adapted) == 7 * model.config.num_hidden_layers
    if kernels == "compiled":
        assert compile_layers(adapted.train()) == model.config.num_hidden_layers
    texts = [
        start + "the lantern swings above the chart. " * 20 for start in ("High be the tide, and ", "All asleep, yet ")
    ]
    ids = AutoTokenizer.from_pretrained(base)(
        texts, return_tensors="pt", truncation=True, max_length=128
    ).input_ids.cuda()
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        adapted(input_ids=ids, labels=ids).loss.backward()
    return torch.cat([p.grad.flatten().double() for p in adapted.parameters() if p.grad is not None])


# Liger's come last, since they stay in this process.
@pytest.mark.parametrize("kernels", ["compiled", "liger"])
def test_the_fast_gradient_is_as_near_to_float32_as_the_plain_one(kernels: str):
    if kernels == "liger":
        pytest.importorskip("liger_kernel")
    base = resolve_model(ModelConfig())
    exact = gradient(base, "float32")
    errors = [float((gradient(base, "bfloat16", each) - exact).norm() / exact.norm()) for each in ("plain", kernels)]
    print(kernels, errors)
    assert 0 < errors[1] < 1.5 * errors[0] < 0.5
