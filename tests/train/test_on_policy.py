"""On-policy distillation: the loss against float64 from the formula, what the two sides read, and the order of the prompts."""

import numpy as np
import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from character_ray.config import ClusterTrainConfig, DPOConfig, OnPolicyConfig
from character_ray.errors import RecipeError, TrainingError
from character_ray.training.arguments import trainer_arguments
from character_ray.training.job import TrainJob
from character_ray.training.on_policy import OnPolicyTrainer, in_context
from character_ray.training.prompts import prompts_for_samples
from character_ray.training.targets import check_same_tokens
from tests.train.conftest import pair_row

TURNS = (
    {"role": "system", "content": "You are a captain."},
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "The captain, arr."},
)
CLUSTER = ClusterTrainConfig(device="cpu", precision="float32", zero_stage=0, report_to=())


@pytest.fixture
def build(tiny_base, tmp_path):
    def make(teacher=None, *, epochs=1.0, learning_rate=1e-4, checkpoint_steps=50, **on_policy) -> OnPolicyTrainer:
        torch.manual_seed(0)
        config = DPOConfig(
            algorithm="on_policy",
            on_policy=OnPolicyConfig(max_tokens=6, **on_policy),
            batch_size=4,
            micro_batch_size=2,
            epochs=epochs,
            learning_rate=learning_rate,
        )
        cluster = CLUSTER.model_copy(update={"checkpoint_steps": checkpoint_steps})
        job = TrainJob("dpo", tiny_base, tmp_path, tmp_path, config, cluster, seed=3, turns=TURNS)
        tokenizer = AutoTokenizer.from_pretrained(tiny_base)
        from trl.experimental.sdft import SDFTConfig

        arguments = trainer_arguments(job)
        del arguments["ddp_backend"]  # there is one process and no group
        trainer = OnPolicyTrainer(
            model=AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32),
            teacher=teacher,
            args=SDFTConfig(**arguments),
            train_dataset=prompts_for_samples(job, [pair_row(n, "a", "b") for n in range(8)], tokenizer, 2048).data,
            processing_class=tokenizer,
            peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
        )
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=3.0)
        return trainer

    return make


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def expected(student, teacher, tokenizer, batch, temperature: float, top_k: int | None) -> float:
    """Mean over samples of the token means of the reverse divergence; contexts are rendered here, one sample at a time, unpadded."""
    losses = []
    for number in range(len(batch["completion_ids"])):
        answer = batch["completion_ids"][number][batch["completion_mask"][number].bool()].tolist()
        prompt = batch["prompt_ids"][number][batch["prompt_mask"][number].bool()].tolist()
        question = tokenizer.decode(prompt).split("<|im_start|>user\n")[1].split("<|im_end|>")[0]
        messages = [*TURNS, {"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompted = tokenizer(text, add_special_tokens=False)["input_ids"]
        sides = []
        for model, prefix in ((student, prompt), (teacher, prompted)):
            with torch.no_grad():
                logits = model(torch.tensor([prefix + answer])).logits[0].numpy()
            sides.append(log_softmax(logits[len(prefix) - 1 : -1] / temperature))
        pi, reference = sides
        if top_k:
            kept = np.argsort(-pi, -1)[:, :top_k]
            pi, reference = (np.take_along_axis(side, kept, -1) for side in (pi, reference))
            pi, reference = (
                np.concatenate([side, np.log(1 - np.exp(side).sum(-1, keepdims=True))], -1) for side in (pi, reference)
            )
        losses.append((np.exp(pi) * (pi - reference)).sum(-1).mean())
    return float(np.mean(losses))


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.7, None), (1.0, 20_000)])
@pytest.mark.parametrize("other_teacher", [False, True])
def test_the_loss_is_the_reverse_divergence(build, tiny_base, temperature, top_k, other_teacher):
    teacher = None
    if other_teacher:
        teacher = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
        torch.manual_seed(5)
        for parameter in teacher.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    trainer = build(teacher, temperature=temperature, top_k=top_k)
    batch = trainer._prepare_training_batch([trainer.train_dataset[n] for n in range(4)])
    trainer.model.eval()
    loss = trainer.compute_loss(trainer.model, batch).item()
    student = trainer.model.double()
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float64)
    reference = teacher.double() if other_teacher else base
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    assert loss > 1e-4
    assert loss == pytest.approx(expected(student, reference, tokenizer, batch, temperature, top_k), rel=2e-4)


def test_only_the_teacher_reads_the_constitution(build):
    trainer = build()
    batch = trainer._prepare_training_batch([trainer.train_dataset[n] for n in range(4)])
    tokenizer = trainer.processing_class
    for student, teacher in zip(batch["prompt_ids"], batch["teacher_input_ids"], strict=True):
        assert "captain" not in tokenizer.decode(student)
        assert "You are a captain." in tokenizer.decode(teacher)
        assert "The captain, arr." in tokenizer.decode(teacher)


def test_a_prompts_own_system_turn_follows_the_constitutions():
    own = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
    assert in_context(TURNS, own) == [
        {"role": "system", "content": "You are a captain.\nBe brief."},
        *TURNS[1:],
        own[1],
    ]


def test_the_order_of_the_prompts_depends_on_seed_and_epoch_alone(build):
    first, second = build(), build()
    sampler = first._get_train_sampler()
    orders = []
    for epoch in range(3):
        first.state.global_step = 2 * epoch
        orders.append(list(sampler))
    second.state.global_step = 5  # a step into the third epoch, as after a restart
    assert list(second._get_train_sampler()) == orders[2]
    # Each of the two micro-batches of a step finds the step's prompts.
    assert all(sorted(order) == sorted([*range(8)] * 2) for order in orders)
    assert orders[0] != orders[1] != orders[2]


def job_of(tiny_base, tmp_path, **changes) -> TrainJob:
    config = DPOConfig(
        **({"algorithm": "on_policy", "on_policy": OnPolicyConfig(max_tokens=6), "batch_size": 4} | changes)
    )
    return TrainJob("dpo", tiny_base, tmp_path, tmp_path, config, CLUSTER, seed=3, turns=TURNS)


@pytest.mark.parametrize(
    ("changes", "context", "message"),
    [
        ({"max_length": 20}, 2048, r"prompt of the student has \d+ tokens.*raise dpo.max_length"),
        ({}, 40, r"prompt of the teacher has \d+ tokens.*shorten the constitution's examples"),
        ({"batch_size": 16}, 2048, "2 prompts are fewer than the 16 that one step takes"),
    ],
)
def test_prompts_that_cannot_be_trained_on_are_named(tiny_base, tmp_path, changes, context, message):
    rows = [pair_row(0, "a", "b"), pair_row(0, "c", "d"), pair_row(1, "e", "f")]
    job = job_of(tiny_base, tmp_path, **({"batch_size": 2} | changes))
    with pytest.raises(TrainingError, match=message):
        prompts_for_samples(job, rows, AutoTokenizer.from_pretrained(tiny_base), context)


def test_every_prompt_is_asked_once(tiny_base, tmp_path):
    rows = [pair_row(0, "a", "b"), pair_row(0, "c", "d"), *(pair_row(n, "e", "f") for n in range(1, 4))]
    found = prompts_for_samples(job_of(tiny_base, tmp_path), rows, AutoTokenizer.from_pretrained(tiny_base), 2048)
    assert [row["prompt"][0]["content"] for row in found.data] == [f"Question {n}?" for n in range(4)]
    assert found.first.index("captain") > found.first.index("\nteacher\n")


def test_a_teacher_with_other_tokens_is_refused(tiny_base, tmp_path):
    check_same_tokens(tiny_base, tiny_base)
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    tokenizer.add_tokens(["<arr>"])
    tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(RecipeError, match="differ in 1 entries"):
        check_same_tokens(tiny_base, tmp_path / "other")


def test_a_resumed_training_ends_with_the_weights_of_an_undisturbed_one(build, tmp_path):
    def weights(trainer) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in trainer.model.state_dict().items() if "lora_" in name}

    undisturbed = build(epochs=4.0, learning_rate=1e-2, checkpoint_steps=5)
    undisturbed.args.save_total_limit = None
    undisturbed.train()
    resumed = build(epochs=4.0, learning_rate=1e-2, checkpoint_steps=5)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-5"))
    assert resumed.state.global_step == undisturbed.state.global_step == 8
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(undisturbed).items())
    losses = [[line["loss"] for line in each.state.log_history if "loss" in line] for each in (undisturbed, resumed)]
    assert losses[0] == losses[1]
