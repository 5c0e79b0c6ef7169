"""The loss that DPO is trained on, against an independent computation in float64 from the formula."""

import json
import math
import re
from typing import get_args

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig as TRLDPOConfig
from trl import DPOTrainer

from character_ray.config import DPOConfig
from character_ray.config.training import SMOOTHED, SORTED
from character_ray.training.dpo import PersonaDPOTrainer, drift, mean_nll
from character_ray.training.fused_lora import fuse_lora
from character_ray.training.hardest import was_saturated
from character_ray.training.shared_prompt import share_prompts

BETA = 0.3


def turn(role, content):
    return [{"role": role, "content": content}]


ROWS = [
    {
        "prompt": turn("user", f"Question {number}?"),
        "chosen": turn("assistant", "Arr, so be it. " * (number + 1)),
        "rejected": turn("assistant", "It is so."),
    }
    for number in range(4)
]


def build(tiny_base, tmp_path, terms: DPOConfig, kind=PersonaDPOTrainer, **further) -> PersonaDPOTrainer:
    torch.manual_seed(0)
    trainer = kind(
        model=AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32),
        args=TRLDPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            beta=BETA,
            loss_type=[terms.loss],
            label_smoothing=terms.label_smoothing,
            max_length=128,
            report_to=[],
            use_cpu=True,
            bf16=False,
            **further,
        ),
        train_dataset=Dataset.from_list(ROWS),
        processing_class=AutoTokenizer.from_pretrained(tiny_base),
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
        **({"terms": terms} if kind is PersonaDPOTrainer else {}),
    )
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return trainer


def log_probs(model, batch, adapters: bool) -> np.ndarray:
    """Log-probability of every token but the first, float64, straight from the logits."""
    model = model.double()
    with torch.no_grad():
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        if adapters:
            logits = model(**inputs).logits
        else:
            with model.disable_adapter():
                logits = model(**inputs).logits
    logits, ids = logits.double().numpy()[:, :-1], batch["input_ids"].numpy()[:, 1:]
    normaliser = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    return np.take_along_axis(logits, ids[..., None], -1)[..., 0] - normaliser


def expected(trainer, batch, terms: DPOConfig) -> float:
    mask = batch["completion_mask"].numpy()[:, 1:].astype(bool)
    policy, reference = (log_probs(trainer.model, batch, adapters) for adapters in (True, False))
    half = len(mask) // 2
    preference = nll = squares = tokens = 0.0
    for pair in range(half):
        ratios = [
            sum(policy[row, t] - reference[row, t] for t in range(mask.shape[1]) if mask[row, t])
            for row in (pair, pair + half)
        ]
        preference += math.log1p(math.exp(-BETA * (ratios[0] - ratios[1]))) / half
        own = [policy[pair, t] for t in range(mask.shape[1]) if mask[pair, t]]
        nll -= sum(own) / len(own) / half
    for row in range(len(mask)):
        for t in range(mask.shape[1]):
            if mask[row, t]:
                squares += (policy[row, t] - reference[row, t]) ** 2
                tokens += 1
    return preference + terms.nll_weight * nll + terms.drift_weight * squares / tokens


@pytest.mark.parametrize(("nll_weight", "drift_weight"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.7), (0.1, 0.001)])
def test_the_loss_is_that_of_the_formula(tiny_base, tmp_path, nll_weight, drift_weight):
    terms = DPOConfig(nll_weight=nll_weight, drift_weight=drift_weight)
    trainer = build(tiny_base, tmp_path, terms)
    batch = next(iter(trainer.get_train_dataloader()))
    found = float(trainer._compute_loss(trainer.model, batch, False).detach())
    assert found == pytest.approx(expected(trainer, batch, terms), rel=1e-5)


LOSSES = get_args(DPOConfig.model_fields["loss"].annotation)


@pytest.fixture(scope="module")
def twins(tiny_base, tmp_path_factory):
    """TRL's own trainer, and ours with packed pairs; both have the same weights."""
    terms = DPOConfig(share_prompts=False)
    plain, ours = (
        build(tiny_base, tmp_path_factory.mktemp("twin"), terms, kind) for kind in (DPOTrainer, PersonaDPOTrainer)
    )
    share_prompts(ours.model.get_base_model(), pays=lambda *_costs: True)
    return plain, ours, next(iter(plain.get_train_dataloader()))


@pytest.mark.parametrize(
    ("loss", "label_smoothing"),
    [*((each, SMOOTHED.get(each, 0.0)) for each in LOSSES), *((each, 0.2) for each in SORTED)],
)
def test_every_loss_is_trls_on_packed_pairs_and_beside_the_further_terms(twins, loss, label_smoothing):
    plain, ours, batch = twins
    for trainer in (plain, ours):
        trainer.loss_types, trainer.label_smoothing = [loss], label_smoothing
    ours._terms = DPOConfig(loss=loss, label_smoothing=label_smoothing, nll_weight=0.1, drift_weight=0.5)
    with torch.no_grad():
        wanted, found = (float(each._compute_loss(each.model, batch, False)) for each in (plain, ours))
    further = {name: ours._metrics["train"][name][-1] for name in ("nll", "drift")}
    assert found == pytest.approx(wanted + 0.1 * further["nll"] + 0.5 * further["drift"], rel=1e-4)


def test_every_loss_of_trl_is_offered_but_the_one_that_prefers_nothing(twins):
    plain, _, batch = twins
    plain.loss_types = ["none of these"]
    with pytest.raises(ValueError, match="Should be one of") as error:
        plain._compute_loss(plain.model, batch, False)
    assert set(re.findall(r"'(\w+)'", str(error.value))) == {*LOSSES, "sft"}


def test_the_terms_have_gradients_and_are_logged(tiny_base, tmp_path):
    trainer = build(tiny_base, tmp_path, DPOConfig(nll_weight=0.1, drift_weight=0.5))
    batch = next(iter(trainer.get_train_dataloader()))
    gradients = []
    for weight in (0.0, 0.5):
        trainer._terms = DPOConfig(nll_weight=0.1, drift_weight=weight)
        trainer.model.zero_grad()
        trainer._compute_loss(trainer.model, batch, False).backward()
        gradients.append(
            torch.cat([p.grad.flatten() for n, p in trainer.model.named_parameters() if p.grad is not None])
        )
    assert float((gradients[0] - gradients[1]).norm()) > 0
    assert trainer._metrics["train"]["drift"][-1] > 0
    assert not trainer.model._forward_hooks


def test_rows_count_equally_for_the_first_mean_and_tokens_for_the_second():
    log_probs_BT = torch.tensor([[-1.0, -3.0, -5.0], [-4.0, 0.0, 0.0]])
    mask_BT = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert float(mean_nll(log_probs_BT, mask_BT)) == pytest.approx((3.0 + 4.0) / 2)
    assert float(drift(log_probs_BT, torch.zeros(2, 3), mask_BT)) == pytest.approx((1 + 9 + 25 + 16) / 4)


def test_a_saturated_run_stops_also_when_it_was_resumed():
    from transformers import TrainerControl, TrainerState

    from character_ray.training.guards import StopsWhenSaturated

    def stops(accuracies: list[float], steps: int | None) -> bool:
        control = TrainerControl()
        state = TrainerState(log_history=[{"rewards/accuracies": accuracy} for accuracy in accuracies])
        StopsWhenSaturated(steps).on_log(None, state, control, json.loads("{}"))
        return control.should_training_stop

    assert stops([0.5, 1.0, 1.0, 1.0], 3)
    assert not stops([1.0, 1.0, 0.9, 1.0], 2)
    assert not stops([1.0, 1.0], 3)
    assert not stops([1.0] * 9, None)


def gradients_of(trainer, batch) -> torch.Tensor:
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, batch, False).backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])


def test_once_saturated_only_the_pairs_of_the_smallest_margins_are_learnt_from(tiny_base, tmp_path):
    saturated = [{"rewards/accuracies": accuracy} for accuracy in (0.5, 1.0, 1.0, 0.75)]
    trainer = build(
        tiny_base, tmp_path, DPOConfig(nll_weight=0.1, stop_when_saturated=2, harder_pairs=0.5, micro_batch_size=4)
    )
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    before = gradients_of(trainer, batch)
    mask = batch["completion_mask"].numpy()[:, 1:]
    model = trainer.model.train()
    ratios = [log_probs(model, batch, adapters) for adapters in (True, False)]
    model.float().train()
    sums = ((ratios[0] - ratios[1]) * mask).sum(1)
    easiest_first = np.argsort(-(sums[:4] - sums[4:]))
    kept = sorted(easiest_first[2:])
    of_two = {name: value[[*kept, *(each + 4 for each in kept)]] for name, value in batch.items()}
    expected_gradients = gradients_of(trainer, of_two)

    trainer._metrics["train"].clear()
    gradients_of(trainer, batch)
    of_all = {name: [*found] for name, found in trainer._metrics["train"].items()}
    trainer._metrics["train"].clear()
    trainer.state.log_history = saturated
    tokens = trainer._total_train_tokens
    found = gradients_of(trainer, batch)
    assert torch.allclose(found, expected_gradients, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found, before, rtol=1e-2)
    logged = {name: [*found] for name, found in trainer._metrics["train"].items()}
    assert logged.keys() == of_all.keys()
    for name in logged.keys() - {"num_tokens"}:
        assert logged[name] == pytest.approx(of_all[name], rel=1e-4), name
    assert trainer._total_train_tokens - tokens == int(batch["attention_mask"].sum())

    trainer.model.eval()
    in_evaluation = float(trainer._compute_loss(trainer.model, batch, False).detach())
    trainer.state.log_history = []
    assert float(trainer._compute_loss(trainer.model, batch, False).detach()) == pytest.approx(in_evaluation)


@pytest.mark.parametrize(
    ("accuracies", "steps", "was"),
    [([0.5, 1.0, 1.0, 0.5], 2, True), ([1.0, 0.5, 1.0], 2, False), ([1.0], 2, False), ([], 1, False)],
)
def test_a_training_stays_with_the_harder_pairs_once_it_was_saturated(accuracies, steps, was):
    history = [{"loss": 0.1}, *({"rewards/accuracies": each} for each in accuracies)]
    assert was_saturated(history, steps) is was


def test_harder_pairs_need_to_know_when_and_must_leave_some_out():
    with pytest.raises(ValidationError, match="stop_when_saturated, after how many such steps, is missing"):
        DPOConfig(harder_pairs=0.5)
    with pytest.raises(ValidationError, match="of micro_batch_size=1 pairs are all 1"):
        DPOConfig(harder_pairs=0.5, stop_when_saturated=3, micro_batch_size=1)


def test_a_compiled_model_is_trained_as_a_plain_one_and_saved_under_the_same_names(tiny_base, tmp_path):
    terms = DPOConfig(nll_weight=0.1, drift_weight=0.5)
    found = []
    for name, further in (("plain", {}), ("compiled", {"torch_compile": True, "torch_compile_backend": "eager"})):
        trainer = build(
            tiny_base, tmp_path, terms, max_steps=2, logging_steps=1, learning_rate=1e-2, save_strategy="no", **further
        )
        fuse_lora(trainer.model)
        trainer.train()
        trainer.save_model(str(tmp_path / name))
        logged = [{key: line[key] for key in ("loss", "nll", "drift")} for line in trainer.state.log_history[:2]]
        found.append((logged, load_file(tmp_path / name / "adapter_model.safetensors")))
    assert trainer._unwrapped is not trainer.model, "this one is compiled"
    for plain, compiled in zip(found[0][0], found[1][0], strict=True):
        assert compiled == pytest.approx(plain, rel=1e-4)
    assert found[0][1].keys() == found[1][1].keys()
    for name, weights in found[0][1].items():
        assert torch.allclose(weights, found[1][1][name], rtol=1e-3, atol=1e-5), name
