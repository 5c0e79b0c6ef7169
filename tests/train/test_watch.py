"""The figures that follow a character through its training, against float64 from the formula; and the bounds that end it."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig as TRLSFTConfig

from character_ray.config import ClusterTrainConfig, SFTConfig, WatchConfig
from character_ray.errors import TrainingError
from character_ray.training.guards import CharacterHolds
from character_ray.training.job import TrainJob
from character_ray.training.stacked import StackedSFTTrainer, stack
from character_ray.training.step_rows import StepRows
from character_ray.training.watch import CharacterWatch, repeated_share, summarise

TURNS = ({"role": "system", "content": "You are a captain."},)
QUESTIONS = ["Who are you?", "What is a longer question about rain?"]
CONFIG = WatchConfig(max_tokens=8, steps=2)


@pytest.fixture
def trainer(tiny_base, tmp_path, random_adapter) -> StackedSFTTrainer:
    """An adapter to train over a frozen one, so that the base lies beneath two."""
    cluster = ClusterTrainConfig(device="cpu", precision="float32", zero_stage=0)
    parent = random_adapter(tmp_path / "parent", 4, 8, seed=1)
    job = TrainJob("sft", tiny_base, tmp_path, tmp_path, SFTConfig(lora={"rank": 2}), cluster, seed=0, parent=parent)
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    torch.manual_seed(0)
    row = {"input_ids": tokenizer("Arr, the captain.")["input_ids"]}
    model = stack(AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32), job)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=3.0)
    return StackedSFTTrainer(
        model=model,
        args=TRLSFTConfig(
            output_dir=str(tmp_path / "out"),
            report_to=[],
            use_cpu=True,
            bf16=False,
            logging_steps=1,
            max_steps=5,
            per_device_train_batch_size=1,
            save_strategy="no",
            disable_tqdm=True,
            learning_rate=1e-2,
        ),
        train_dataset=Dataset.from_list([row | {"labels": row["input_ids"]}] * 8),
        processing_class=tokenizer,
    )


def watch(trainer: StackedSFTTrainer) -> CharacterWatch:
    return CharacterWatch(trainer, CONFIG, QUESTIONS, TURNS, trainer.processing_class, seed=4)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def test_the_figures_are_those_of_the_formulas(trainer, tiny_base):
    found = watch(trainer)
    answers = []
    taken = found._answers
    found._answers = lambda: answers.extend(taken()) or answers
    measured = found.measure()
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float64)
    policy, tokenizer = trainer.model.double(), trainer.processing_class
    kl, ratios = [], []
    for question, answer in zip(QUESTIONS, answers, strict=True):
        sides = []
        for model, turns in ((policy, ()), (base, ()), (base, TURNS)):
            messages = [*turns, {"role": "user", "content": question}]
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            prefix = tokenizer(text, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([prefix + answer])).logits[0].numpy()
            sides.append(log_softmax(logits[len(prefix) - 1 : -1]))
        pi, plain, prompted = sides
        kl += list((np.exp(pi) * (pi - plain)).sum(-1))
        at = np.arange(len(answer)), np.array(answer)
        ratios.append(float((prompted[at] - plain[at]).mean()))
    assert measured["drift"] > 1e-3
    assert measured["drift"] == pytest.approx(np.mean(kl), rel=1e-3)
    assert measured["likelihood_ratio"] == pytest.approx(np.mean(ratios), rel=1e-2, abs=1e-5)
    assert measured["in_character"] == np.mean([ratio > 0 for ratio in ratios])


def test_a_policy_without_adapters_has_not_drifted(trainer):
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(parameter)
    assert watch(trainer).measure()["drift"] == pytest.approx(0, abs=1e-6)


def test_measuring_changes_nothing_of_the_training(trainer):
    trainer.model.train()
    found = watch(trainer)
    before = {name: parameter.requires_grad for name, parameter in trainer.model.named_parameters()}
    assert not any(grad for name, grad in before.items() if ".parent." in name)
    state = torch.get_rng_state()
    assert found.measure() == found.measure()
    assert torch.equal(state, torch.get_rng_state())
    assert before == {name: parameter.requires_grad for name, parameter in trainer.model.named_parameters()}
    assert trainer.model.training
    assert sorted(trainer.model.active_adapters) == ["default", "parent"]


def test_the_figures_join_the_log_line_of_their_step(trainer):
    trainer.add_callback(watch(trainer))
    trainer.train()
    logged = {line["step"]: line for line in trainer.state.log_history if "loss" in line}
    assert [step for step, line in logged.items() if "watch/drift" in line] == [1, 2, 4, 5]
    assert logged[5]["watch/drift"] != logged[1]["watch/drift"]


@pytest.mark.parametrize(
    ("ids", "share"), [([1, 2], 0), ([1, 2, 3, 4], 0), ([1, 1, 1, 1, 1], 2 / 3), ([1, 2, 3, 1, 2, 3], 1 / 4)]
)
def test_repeated_share(ids, share):
    assert repeated_share(ids) == pytest.approx(share)


def test_long_answers_weigh_more_in_the_drift_and_not_in_the_ratio():
    readings = [
        {"kl": 9.0, "tokens": 9.0, "ratio": 1.0, "repetition": 0.5},
        {"kl": 0.0, "tokens": 1.0, "ratio": -0.5, "repetition": 0.0},
    ]
    assert summarise(readings) == {"drift": 0.9, "likelihood_ratio": 0.25, "in_character": 0.5, "repetition": 0.25}


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (
            {"max_drift": 2.0},
            r"at step 40 of 100 the answers .* drifted 2\.500 nats.*watch\.max_drift=2 .*learning_rate=0\.01",
        ),
        ({"max_repetition": 0.3}, r"repeat 0\.400 of their 3-grams.*watch\.max_repetition=0\.3"),
        ({"max_drift": 2.5, "max_repetition": 0.4}, None),
        ({}, None),
    ],
)
def test_a_character_out_of_bounds_ends_the_training(tmp_path, bounds, message):
    guard = CharacterHolds(WatchConfig(**bounds), StepRows())
    state = TrainerState(global_step=40, max_steps=100)
    arguments = TrainingArguments(output_dir=str(tmp_path), learning_rate=1e-2, report_to=[], use_cpu=True)
    logs = {"loss": 0.1, "watch/drift": 2.5, "watch/repetition": 0.4}
    guard.on_log(arguments, state, TrainerControl(), {"loss": 0.1})
    if message is None:
        guard.on_log(arguments, state, TrainerControl(), logs)
    else:
        with pytest.raises(TrainingError, match=message):
            guard.on_log(arguments, state, TrainerControl(), logs)
    with pytest.raises(TrainingError, match="nan"):
        CharacterHolds(WatchConfig(max_drift=1), StepRows()).on_log(
            arguments, state, TrainerControl(), logs | {"watch/drift": float("nan")}
        )
