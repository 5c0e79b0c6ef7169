"""The rows that an error names are those that its step read."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig as TRLDPOConfig
from trl import SFTConfig as TRLSFTConfig

from character_ray.config import ClusterTrainConfig, DPOConfig, OnPolicyConfig, SFTConfig
from character_ray.errors import TrainingError
from character_ray.training.arguments import trainer_arguments
from character_ray.training.dpo import PersonaDPOTrainer
from character_ray.training.guards import LossHolds
from character_ray.training.job import TrainJob
from character_ray.training.on_policy import OnPolicyTrainer
from character_ray.training.prompts import prompts_for_samples
from character_ray.training.stacked import StackedSFTTrainer, stack
from character_ray.training.step_rows import SHOWN, StepRows
from tests.train.conftest import pair_row

ROWS = [pair_row(number, "Arr.", "It is so.") for number in range(8)]
LORA = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
CLUSTER = ClusterTrainConfig(device="cpu", precision="float32", zero_stage=0, report_to=())


class Compares(TrainerCallback):
    """Takes down the rows that a step is said to have read, and those whose tokens the model saw."""

    def __init__(self, step_rows: StepRows, tokenizer) -> None:
        self.step_rows, self.tokenizer = step_rows, tokenizer
        self.seen: set[str] = set()
        self.steps: list[tuple[list[str], list[str]]] = []

    def look(self, ids_BT: torch.Tensor) -> None:
        texts = self.tokenizer.batch_decode(ids_BT)
        self.seen |= {number for number in map(str, range(8)) if any(f"Question {number}?" in text for text in texts)}

    def on_step_end(self, args, state, control, **kwargs) -> None:
        named = self.step_rows.named().removeprefix("rows ").split(", ")
        self.steps.append((sorted(named), sorted(self.seen)))
        self.seen = set()


def arguments(tmp_path) -> dict:
    return {
        "output_dir": str(tmp_path),
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "num_train_epochs": 2,
        "save_strategy": "no",
        "disable_tqdm": True,
        "max_length": 128,
    }


def dpo(model, tokenizer, tiny_base, tmp_path):
    return PersonaDPOTrainer(
        model=model,
        args=TRLDPOConfig(**arguments(tmp_path), per_device_eval_batch_size=2, eval_strategy="steps", eval_steps=1),
        train_dataset=Dataset.from_list(ROWS),
        eval_dataset=Dataset.from_list(ROWS[:3]),
        processing_class=tokenizer,
        peft_config=LORA,
        terms=DPOConfig(),
    )


def sft(model, tokenizer, tiny_base, tmp_path):
    job = TrainJob("sft", tiny_base, tmp_path, tmp_path, SFTConfig(lora={"rank": 2}), CLUSTER, seed=0)
    ids = [tokenizer(f"Question {number}? Arr.")["input_ids"] for number in range(8)]
    rows = [{"row_id": str(number), "input_ids": each, "labels": each} for number, each in enumerate(ids)]
    return StackedSFTTrainer(
        model=stack(model, job),
        args=TRLSFTConfig(**arguments(tmp_path)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )


def on_policy(model, tokenizer, tiny_base, tmp_path):
    from trl.experimental.sdft import SDFTConfig

    config = DPOConfig(
        algorithm="on_policy",
        on_policy=OnPolicyConfig(max_tokens=4, samples=1),
        batch_size=4,
        micro_batch_size=2,
        epochs=2,
    )
    turns = ({"role": "system", "content": "You are a captain."},)
    job = TrainJob("dpo", tiny_base, tmp_path, tmp_path, config, CLUSTER, seed=3, turns=turns)
    given = trainer_arguments(job)
    del given["ddp_backend"]
    return OnPolicyTrainer(
        model=model,
        args=SDFTConfig(**given),
        train_dataset=prompts_for_samples(job, [*ROWS, ROWS[0] | {"row_id": "again"}], tokenizer, 2048).data,
        processing_class=tokenizer,
        peft_config=LORA,
    )


@pytest.mark.parametrize("make", [dpo, sft, on_policy])
def test_a_step_names_the_rows_whose_tokens_it_read(tiny_base, tmp_path, make):
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    trainer = make(model, tokenizer, tiny_base, tmp_path)
    compares = Compares(trainer.step_rows, tokenizer)
    trainer.add_callback(compares)
    step = trainer.training_step

    def watched(model, inputs, *rest):
        prepared = trainer._prepare_inputs

        # What the trainer makes of the batch on its way to the model, after the ids were taken out.
        def look(inputs):
            made = prepared(inputs)
            assert "row_id" not in made
            compares.look(made["input_ids"] if "input_ids" in made else made["prompt_ids"])
            return made

        trainer._prepare_inputs = look
        try:
            return step(model, inputs, *rest)
        finally:
            trainer._prepare_inputs = prepared

    trainer.training_step = watched
    trainer.train()
    assert len(compares.steps) == 4
    for named, seen in compares.steps:
        assert named == seen
        assert len(named) == 4
    for epoch in (compares.steps[:2], compares.steps[2:]):
        assert sorted(row for named, _ in epoch for row in named) == list(map(str, range(8)))


def test_a_loss_that_is_no_number_ends_the_training_with_the_rows_of_its_step():
    step_rows = StepRows()
    step_rows.add(1, ["of-the-step-before"])
    step_rows.add(2, ["good"])
    step_rows.add(2, ["poisoned"])
    state = SimpleNamespace(global_step=3, max_steps=9, log_history=[{"loss": 0.7}])
    with pytest.raises(TrainingError, match=r"the loss is nan at step 3 of 9, .*; the step read rows good, poisoned\."):
        LossHolds(step_rows).read(SimpleNamespace(learning_rate=1e-4), state, None, {"loss": float("nan")})


def test_a_large_batch_is_named_in_part():
    step_rows = StepRows()
    assert step_rows.named() == "rows that are not known"
    step_rows.add(0, [str(number) for number in range(SHOWN + 3)])
    assert step_rows.named().endswith(f"{SHOWN - 1} and 3 more")
