"""Sharing the prompt changes the time of a step, not its loss, its log-probabilities or its gradient."""

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig as TRLDPOConfig

from character_ray.config import DPOConfig
from character_ray.prefix_packing import takes_a_mask
from character_ray.training.dpo import PersonaDPOTrainer
from character_ray.training.layout import LayerCost, layer_cost, sharing_pays
from character_ray.training.reference_cache import ReferenceCache
from character_ray.training.right_padding import unmask_right_padding
from character_ray.training.shared_prompt import share_prompts

ROWS = [
    {
        "prompt": [{"role": "user", "content": "Question " + "and more " * number + "?"}],
        "chosen": [{"role": "assistant", "content": "Arr, so be it. " * (1 + 3 * (number % 3))}],
        "rejected": [{"role": "assistant", "content": "It is so. " * (1 + number % 2)}],
    }
    for number in range(6)
]


def build(
    tiny_base,
    tmp_path,
    attention: str = "sdpa",
    max_length: int = 128,
    *,
    share: bool,
    cache=None,
    targets=("q_proj", "down_proj"),
    **further,
) -> PersonaDPOTrainer:
    torch.manual_seed(0)
    trainer = PersonaDPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32, attn_implementation=attention),
        args=TRLDPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=6,
            max_length=max_length,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            **further,
        ),
        train_dataset=Dataset.from_list(ROWS),
        processing_class=AutoTokenizer.from_pretrained(tiny_base),
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=list(targets), task_type="CAUSAL_LM"),
        terms=DPOConfig(nll_weight=0.1, drift_weight=0.01, share_prompts=share),
        cache=cache,
    )
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return trainer


def step(trainer: PersonaDPOTrainer) -> tuple[float, torch.Tensor, dict[str, float]]:
    torch.manual_seed(1)
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer._compute_loss(trainer.model, batch, False)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
    return float(loss.detach()), gradient, {name: values[-1] for name, values in trainer._metrics["train"].items()}


@pytest.mark.parametrize("max_length", [128, 60])
@pytest.mark.parametrize("packed", [True, False])
def test_loss_gradient_and_metrics_are_those_of_the_padded_batch(tiny_base, tmp_path, max_length, packed):
    padded = step(build(tiny_base, tmp_path, max_length=max_length, share=False))
    trainer = build(tiny_base, tmp_path, max_length=max_length, share=False)
    # As the trainer does, with the layout chosen here.
    share_prompts(trainer.model.get_base_model(), pays=lambda *_costs: packed)
    shapes: list[tuple[int, ...]] = []
    trainer.model.get_base_model().base_model.register_forward_pre_hook(
        lambda _module, _args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    shared = step(trainer)
    whole = (12, max(shape[1] for shape in shapes))
    assert all((shape == whole) != packed for shape in shapes)
    assert shared[0] == pytest.approx(padded[0], rel=1e-5)
    assert float((shared[1] - padded[1]).norm()) < 1e-4 * float(padded[1].norm())
    assert float(padded[1].norm()) > 0
    assert shared[2].keys() == padded[2].keys()
    for name, value in padded[2].items():
        assert shared[2][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize(("router_loss", "packed"), [(0.0, True), (0.5, False)])
def test_a_mixtures_pairs_are_packed_unless_its_router_has_a_loss(tiny_mixture, tmp_path, router_loss, packed):
    further = {"router_aux_loss_coef": router_loss, "targets": ["q_proj", "o_proj"]}
    padded = step(build(tiny_mixture, tmp_path, share=False, **further))
    trainer = build(tiny_mixture, tmp_path, share=False, **further)
    share_prompts(trainer.model.get_base_model(), pays=lambda *_costs: True)
    unmask_right_padding(trainer.model.get_base_model())
    shapes: list[tuple[int, ...]] = []
    trainer.model.get_base_model().base_model.register_forward_pre_hook(
        lambda _module, _args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    shared = step(trainer)
    assert (shapes[0][0] < 12) == packed
    assert shared[0] == pytest.approx(padded[0], rel=1e-5)
    assert float((shared[1] - padded[1]).norm()) < 1e-4 * float(padded[1].norm())
    assert shared[2].get("aux_loss") == pytest.approx(padded[2].get("aux_loss"))


def test_an_attention_that_takes_no_mask_is_left_padded(tiny_base, tmp_path):
    trainer = build(tiny_base, tmp_path, attention="eager", share=True)
    base = trainer.model.get_base_model()
    assert not takes_a_mask(base)
    base.config._attn_implementation = "sdpa"
    assert takes_a_mask(base)
    base.config.layer_types = ["full_attention", "sliding_attention"]
    assert not takes_a_mask(base)


def passes_of(trainer: PersonaDPOTrainer) -> list[int]:
    """Grows with every pass through the layers of the base model."""
    passes: list[int] = []
    layers = trainer.model.get_base_model().base_model
    layers.register_forward_pre_hook(lambda _module, _args: passes.append(1))
    return passes


def test_what_the_reference_said_is_kept_and_not_asked_again(tiny_base, tmp_path):
    alone = step(build(tiny_base, tmp_path, share=True))
    cache = ReferenceCache(tmp_path / "kept")
    first = build(tiny_base, tmp_path, share=True, cache=cache)
    passes = passes_of(first)
    learnt = step(first)
    assert len(passes) == 2
    cache.flush()
    second = build(tiny_base, tmp_path, share=True, cache=ReferenceCache(tmp_path / "kept"))
    passes = passes_of(second)
    known = step(second)
    assert len(passes) == 1
    for found in (learnt, known):
        assert found[0] == alone[0]
        assert torch.equal(found[1], alone[1])
        assert found[2] == alone[2]


def test_another_micro_batch_is_asked(tiny_base, tmp_path):
    cache = ReferenceCache(tmp_path / "kept")
    step(build(tiny_base, tmp_path, share=True, cache=cache))
    cut = build(tiny_base, tmp_path, max_length=60, share=True, cache=cache)
    passes = passes_of(cut)
    step(cut)
    assert len(passes) == 2


def test_sharing_pays_where_prompts_are_long_and_rows_short():
    """Qwen3-4B's layers: 1,024 tokens a side under a prompt of 200, and demo's 120 under the same prompt."""
    gpu, cpu = (LayerCost(2 * 3.63e9, 4 * 36 * 4096, device) for device in ("cuda", "cpu"))
    assert not sharing_pays(gpu, (4, 1848), (8, 1024))
    assert sharing_pays(gpu, (4, 440), (8, 320))
    assert sharing_pays(cpu, (4, 1848), (8, 1024))
    assert not sharing_pays(gpu, (4, 640), (8, 320))  # nothing shared


def test_the_cost_of_a_model_is_read_off_its_weights(tiny_base):
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    attention, mlp = 32 * (32 + 16 + 16 + 32), 3 * 32 * 64
    assert layer_cost(model) == LayerCost(2.0 * 2 * (attention + mlp), 4.0 * 2 * 32, "cpu")


def test_weights_that_zero_3_has_divided_count_whole(tiny_base):
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    whole = layer_cost(model)
    for parameter in model.parameters():  # as DeepSpeed leaves them between two passes
        parameter.ds_shape = parameter.shape
        parameter.data = torch.empty(0)
    assert layer_cost(model) == whole


def test_of_a_mixture_the_experts_that_a_token_meets_count(tiny_mixture):
    model = AutoModelForCausalLM.from_pretrained(tiny_mixture)
    attention, router, experts = 32 * (32 + 16 + 16 + 32), 4 * 32, 2 * 3 * 32 * 32
    assert layer_cost(model).per_token == 2.0 * 2 * (attention + router + experts)
