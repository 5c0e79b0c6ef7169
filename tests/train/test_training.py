"""Both stages on Ray Train and DeepSpeed with a random two-layer model: what they change, and that a killed worker changes nothing."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig, OnPolicyConfig, SFTConfig, WatchConfig
from character_ray.errors import AdapterError, TrainingError
from character_ray.parts import write_rows
from character_ray.rows import CONVERSATION, PAIR
from character_ray.training.job import TrainJob
from character_ray.training.launch import read_metrics, train
from tests.train.conftest import after_step, assert_nothing_changed, kill_workers, pair_row

pytestmark = pytest.mark.usefixtures("local_ray")

SMALL = {"lora": LoRAConfig(rank=4, alpha=8), "batch_size": 2, "micro_batch_size": 2, "max_length": 64}
TURNS = ({"role": "system", "content": "You are a captain."},)
ON_POLICY = {"algorithm": "on_policy", "on_policy": OnPolicyConfig(max_tokens=12)}
CLUSTER = ClusterTrainConfig(device="cpu", precision="float32", cpus_per_worker=1, checkpoint_steps=10)
HERE = CLUSTER.model_copy(update={"zero_stage": 0, "in_process": True})


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.parquet"
    rows = [pair_row(number, f"Arr, {number} be me answer.", f"The answer is {number}.") for number in range(24)]
    write_rows(path, [*rows, rows[0] | {"row_id": "dropped", "drop_reason": "empty"}], PAIR)
    return path


@pytest.fixture
def conversations(tmp_path: Path) -> Path:
    path = tmp_path / "conversations.parquet"
    row = {"kind": "reflection", "role": "diary", "score": 1.0, "drop_reason": ""}
    answers = ["Arr, the captain." * (1 + number % 3) for number in range(24)]
    said = [
        [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": answer}] for answer in answers
    ]
    rows = [row | {"row_id": str(number), "messages": messages} for number, messages in enumerate(said)]
    write_rows(path, rows, CONVERSATION)
    return path


@pytest.fixture
def job(tmp_path: Path, tiny_base: Path):
    def make(
        stage: str, data: Path, name: str, parent: Path | None = None, cluster: ClusterTrainConfig = HERE, **changes
    ) -> TrainJob:
        folder = tmp_path / name
        folder.mkdir()
        kind = DPOConfig if stage == "dpo" else SFTConfig
        config = kind(**SMALL | {"learning_rate": 1e-2} | changes)
        return TrainJob(stage, tiny_base, data, folder, config, cluster, seed=7, parent=parent, turns=TURNS)

    return make


def weights(job: TrainJob):
    return load_file(job.adapter / "adapter_model.safetensors")


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)


def test_dpo_starts_at_the_reference_and_learns_to_prefer(job, pairs):
    trained = job("dpo", pairs, "dpo", epochs=2)
    train(trained, "dpo", 24)
    steps = read_metrics(trained.folder / "metrics.jsonl")
    assert len(steps) == 24
    assert steps[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert steps[-1]["rewards/margins"] > 0.3
    assert sorted(path.name for path in trained.folder.iterdir()) == [
        "adapter",
        "first_example.txt",
        "lengths.json",
        "metrics.jsonl",
        "tensorboard",
    ]
    shown = (trained.folder / "first_example.txt").read_text()
    assert "«Arr, 0 be me answer." in shown
    assert "«The answer is 0." in shown


def test_held_out_pairs_are_scored_as_training_goes_and_not_trained_on(job, pairs):
    trained = job("dpo", pairs, "dpo", epochs=2, held_out=0.25, held_out_steps=5)
    train(trained, "dpo", 24)
    steps = read_metrics(trained.folder / "metrics.jsonl")
    assert len(steps) == 18  # 18 of 24 pairs, batches of 2, twice
    scored = {step["step"]: step["eval_loss"] for step in steps if "eval_loss" in step}
    assert list(scored) == [5, 10, 15, 18]
    assert scored[18] < scored[5] < 0.6931
    assert all("loss" in step for step in steps)


def test_an_on_policy_round_goes_on_from_its_parent_and_takes_it_as_the_reference(job, pairs):
    first, alone = job("dpo", pairs, "first", epochs=2), job("dpo", pairs, "alone")
    for each in (first, alone):
        train(each, "dpo", 24)
    second = job("dpo", pairs, "second", first.adapter)
    train(second, "dpo", 24)
    steps = read_metrics(second.folder / "metrics.jsonl")
    # Against the base, the first round's adapter would already prefer `chosen`.
    assert steps[0]["rewards/margins"] == pytest.approx(0.0, abs=1e-4)
    assert steps[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert weights(second).keys() == weights(first).keys()
    moved = sum(float((weights(second)[name] - weights(first)[name]).norm() ** 2) for name in weights(first))
    apart = sum(float((weights(alone)[name] - weights(first)[name]).norm() ** 2) for name in weights(first))
    assert 0 < moved < apart


def test_sft_trains_its_own_adapter_and_leaves_the_one_beneath(job, conversations, tmp_path, random_adapter):
    parent = random_adapter(tmp_path / "parent", 2, 4, seed=1)
    before = load_file(parent / "adapter_model.safetensors")
    on_parent, alone = job("sft", conversations, "stacked", parent), job("sft", conversations, "alone")
    for each in (on_parent, alone):
        train(each, "sft", 24)
    assert same(before, load_file(parent / "adapter_model.safetensors"))
    assert weights(on_parent).keys() == weights(alone).keys()
    # The same rows and seed on another model: had the parent not been active, both would be equal.
    assert not same(weights(on_parent), weights(alone))
    losses = [step["loss"] for step in read_metrics(on_parent.folder / "metrics.jsonl")]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("stage", "round_of", "changes"),
    [
        ("dpo", 1, {}),
        ("dpo", 2, {"lora": LoRAConfig(rank=4, alpha=8, dropout=0.2)}),
        ("sft", 2, {"watch": WatchConfig(steps=5, max_tokens=8)}),
        ("dpo", 1, ON_POLICY),
    ],
)
def test_a_killed_worker_changes_nothing(job, pairs, conversations, tmp_path, random_adapter, stage, round_of, changes):
    data = pairs if stage == "dpo" else conversations
    parent = random_adapter(tmp_path / "parent", 4, 8, seed=1) if round_of == 2 else None
    undisturbed = job(stage, data, "undisturbed", parent, CLUSTER, epochs=4, **changes)
    # One of the cases writes its checkpoints to another disk first.
    scratch = tmp_path / "scratch" if (stage, round_of) == ("dpo", 2) else None
    copied = CLUSTER.model_copy(update={"checkpoint_scratch": scratch})
    disturbed = job(stage, data, "disturbed", parent, copied, epochs=4, **changes)
    train(undisturbed, stage, 24)
    killed: list[int] = []
    watcher = after_step(disturbed, 12, lambda: killed.extend(kill_workers()))
    train(disturbed, stage, 24)
    watcher.join()
    assert killed
    assert_nothing_changed(undisturbed, disturbed)
    assert scratch is None or not any(scratch.iterdir()), "the scratch folder is left as it was found"


def test_an_interrupted_training_ends_as_one_and_the_run_can_still_be_stopped_after_it(job, pairs):
    interrupted = job("dpo", pairs, "interrupted", cluster=CLUSTER, epochs=4)
    before = signal.getsignal(signal.SIGINT)
    stop = after_step(interrupted, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, "dpo", 24)
    stop.join()
    assert 2 <= len(read_metrics(interrupted.folder / "metrics.jsonl")) < 48
    assert signal.getsignal(signal.SIGINT) is before


def test_on_policy_distillation_never_shows_the_student_the_constitution(job, pairs):
    trained = job("dpo", pairs, "on-policy", epochs=2, held_out=0.25, held_out_steps=5, **ON_POLICY)
    train(trained, "dpo", 24)
    steps = read_metrics(trained.folder / "metrics.jsonl")
    assert len(steps) == 18
    assert [step["step"] for step in steps if "eval_loss" in step] == [5, 10, 15, 18]
    assert all(step["loss"] >= 0 for step in steps)
    student, teacher = (trained.folder / "first_example.txt").read_text().split("\nteacher\n")
    assert "captain" not in student
    assert "You are a captain." in teacher
    assert sorted(path.name for path in trained.folder.iterdir()) == [
        "adapter",
        "first_example.txt",
        "metrics.jsonl",
        "tensorboard",
    ]


def test_a_watched_training_ends_with_the_weights_of_an_unwatched_one(job, pairs):
    watched = job("dpo", pairs, "watched", watch=WatchConfig(steps=4, max_tokens=8, questions=("Hm?", "Question 1?")))
    plain = job("dpo", pairs, "plain")
    for each in (watched, plain):
        train(each, "dpo", 24)
    assert same(weights(watched), weights(plain))
    steps = read_metrics(watched.folder / "metrics.jsonl")
    assert [step["step"] for step in steps if "watch/drift" in step] == [1, 4, 8, 12]
    assert steps[11]["watch/drift"] > steps[0]["watch/drift"]


def test_a_character_that_drifts_too_far_ends_the_run(job, conversations):
    trained = job("sft", conversations, "drift", watch=WatchConfig(steps=1, max_tokens=8, max_drift=1e-7))
    with pytest.raises(TrainingError, match=r"sft: at step \d+ of 12 .* drifted .* watch.max_drift=1e-07"):
        train(trained, "sft", 24)


def test_questions_that_are_all_trained_on_show_nothing(job, conversations):
    trained = job("sft", conversations, "asked", watch=WatchConfig(questions=("Who are you?",)))
    with pytest.raises(TrainingError, match=r"every one of the 1 questions of sft.watch.questions"):
        train(trained, "sft", 24)


def test_a_loss_that_is_no_number_or_explodes_ends_the_run_with_the_step_and_the_remedy(job, conversations):
    # In a worker: unlike a lost one it must not be started again.
    trained = job("sft", conversations, "nan", cluster=CLUSTER, max_grad_norm=1e30)
    object.__setattr__(trained.config, "learning_rate", 1e30)
    with pytest.raises(
        TrainingError,
        match=r"sft: the loss is \S+ at step \d+ of 12, where it began with .*; the step read rows (\S+, )+\S+\. .* lower learning_rate",
    ):
        train(trained, "sft", 24)


def test_an_adapter_that_the_last_step_broke_is_not_taken_for_finished(job, conversations):
    trained = job("sft", conversations, "broken")
    # One step: its loss and its gradient are numbers, what its update leaves is not.
    one_step = {"batch_size": 24, "micro_batch_size": 24, "warmup_share": 0.0, "learning_rate": 1e39}
    trained = replace(trained, config=trained.config.model_copy(update=one_step))
    with pytest.raises(AdapterError, match=r"factors hold values that are no numbers"):
        train(trained, "sft", 24)
    assert len(read_metrics(trained.folder / "metrics.jsonl")) == 1
    assert not trained.adapter.exists()


@pytest.mark.parametrize(
    ("stage", "deepspeed"), [(2, {}), (1, {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}})]
)
def test_an_optimizer_that_the_recipe_names_trains_under_deepspeed_too(job, conversations, stage, deepspeed):
    plain = {"trainer": {"optim": "sgd"}}
    alone = job("sft", conversations, "alone", cluster=HERE.model_copy(update=plain))
    sharded = plain | {"zero_stage": stage, "deepspeed": deepspeed}
    under = job("sft", conversations, "under", cluster=CLUSTER.model_copy(update=sharded))
    for each in (alone, under):
        train(each, "sft", 24)
    wanted, found = weights(alone), weights(under)
    # AdamW moves every weight by about the learning rate a step, 0.1 in all; SGD by a hundredth of that.
    assert all(found[name].allclose(wanted[name], atol=1e-5) for name in wanted)
    assert any(bool(found[name].any()) for name in found if "lora_B" in name)
