"""Micro-batches of similar lengths: the rows of a step are plain training's, their padding is less, and what is learnt is the same."""

import itertools
import random
from pathlib import Path

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, SeedableRandomSampler
from torch.utils.data import BatchSampler
from transformers import Trainer, TrainerCallback

from character_ray.config import ClusterTrainConfig, LoRAConfig, SFTConfig
from character_ray.parts import write_rows
from character_ray.rows import CONVERSATION
from character_ray.training.job import TrainJob
from character_ray.training.micro_batches import StepSampler, padded_tokens, split_step
from character_ray.training.stacked import StackedSFTTrainer
from character_ray.training.worker import _build_trainer

CLUSTER = ClusterTrainConfig(
    device="cpu",
    precision="float32",
    zero_stage=0,
    in_process=True,
    cpus_per_worker=1,
    report_to=(),
    checkpoint_steps=4,
)


def sampler(lengths, workers: int, rank: int, epoch: int = 0, seed: int = 7) -> StepSampler:
    return StepSampler(
        lengths, micro_batch_size=2, accumulation=2, workers=workers, rank=rank, seed=seed, epoch=lambda _steps: epoch
    )


@pytest.mark.parametrize(("rows", "parts", "most"), [(7, 3, 3), (8, 4, 2), (5, 5, 1), (6, 1, 6)])
def test_no_other_cut_reads_fewer_tokens(rows, parts, most):
    draw = random.Random(rows)
    for _ in range(20):
        lengths = [draw.choice((3, 5, 8, 40)) for _ in range(rows)]
        found = split_step(lengths, parts, most)
        assert sorted(itertools.chain(*found)) == list(range(rows))
        assert len(found) == parts and all(found)
        cuts = [
            [[row for row, of in enumerate(owner) if of == part] for part in range(parts)]
            for owner in itertools.product(range(parts), repeat=rows)
        ]
        room = most * max(lengths)
        best = min(
            padded_tokens(lengths, cut)
            for cut in cuts
            if all(cut) and all(padded_tokens(lengths, [part]) <= room for part in cut)
        )
        costs = [padded_tokens(lengths, [part]) for part in found]
        assert sum(costs) == best
        assert costs == sorted(costs, reverse=True) and costs[0] <= room


@pytest.mark.parametrize("rows", [3, 12, 13, 15, 21, 40])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_step_has_the_rows_of_plain_training_whatever_the_workers(rows, workers):
    lengths = [5 + 7 * row % 31 for row in range(rows)]
    for epoch in (0, 2):
        order = SeedableRandomSampler(range(rows), data_seed=7)
        order.set_epoch(epoch)
        plain = []
        for rank in range(workers):
            order.set_epoch(epoch)
            shard = BatchSampler(order, 2, drop_last=False)
            plain.append(list(BatchSamplerShard(shard, workers, rank) if workers > 1 else shard))
        ours = [list(sampler(lengths, workers, rank, epoch)) for rank in range(workers)]
        for rank in range(workers):
            assert len(sampler(lengths, workers, rank)) == len(ours[rank]) == len(plain[rank])
        for start in range(0, len(plain[0]), 2):
            of_step = [
                sorted(row for shards in kind for batch in shards[start : start + 2] for row in batch)
                for kind in (plain, ours)
            ]
            assert of_step[0] == of_step[1]


def test_seeds_and_epochs_have_orders_of_their_own():
    lengths = list(range(5, 45))
    orders = [[*sampler(lengths, 1, 0, epoch, seed)] for epoch, seed in ((0, 7), (1, 7), (0, 9))]
    assert orders[0] == [*sampler(lengths, 1, 0, 0, 7)]
    assert orders[0] != orders[1] != orders[2] != orders[0]


@pytest.fixture
def build(tiny_base: Path, tmp_path: Path):
    """A trainer as a worker builds it, on conversations from short to ten times as long."""
    said = {"kind": "reflection", "role": "diary", "score": 1.0, "drop_reason": ""}

    def messages(number: int) -> list[dict[str, str]]:
        answer = "Arr, that I am. " * (1 + number * number % 11)
        return [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": answer}]

    rows = [said | {"row_id": str(number), "messages": messages(number)} for number in range(21)]
    write_rows(tmp_path / "data.parquet", rows, CONVERSATION)

    def make(name: str, **trainer) -> StackedSFTTrainer:
        (tmp_path / name).mkdir()
        config = SFTConfig(
            lora=LoRAConfig(rank=4, alpha=8), batch_size=8, micro_batch_size=2, learning_rate=1e-2, epochs=2
        )
        cluster = CLUSTER.model_copy(update={"trainer": trainer})
        torch.manual_seed(7)
        job = TrainJob("sft", tiny_base, tmp_path / "data.parquet", tmp_path / name, config, cluster, seed=7)
        return _build_trainer(job)

    return make


def trained(trainer):
    """Losses, norms of gradients, weights, rows of each step, and tokens that the model read."""
    read: list[int] = []
    steps: dict[int, set[str]] = {}
    trainer.model.get_base_model().base_model.register_forward_pre_hook(
        lambda _module, _args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    note = trainer.step_rows.add

    def add(step, ids):
        steps.setdefault(step, set()).update(ids)
        note(step, ids)

    trainer.step_rows.add = add
    trainer.train()
    logged = [line for line in trainer.state.log_history if "loss" in line]
    weights = {name: each.detach() for name, each in trainer.model.named_parameters() if each.requires_grad}
    return [line["loss"] for line in logged], [line["grad_norm"] for line in logged], weights, steps, sum(read)


def test_a_training_is_the_plain_one_and_reads_less_padding(build, monkeypatch):
    trainer = build("ours")
    needed = 2 * sum(len(ids) for ids in trainer.train_dataset["input_ids"])
    ours = trained(trainer)
    with monkeypatch.context() as patch:
        patch.setattr(StackedSFTTrainer, "_get_train_sampler", Trainer._get_train_sampler)
        plain = trained(build("plain"))
    assert len(plain[0]) == 6
    assert ours[3] == plain[3], "each step is made of the same rows"
    assert ours[0] == pytest.approx(plain[0], rel=1e-4)
    assert ours[1] == pytest.approx(plain[1], rel=1e-3)
    for name, weights in plain[2].items():
        assert torch.allclose(weights, ours[2][name], rtol=1e-2, atol=1e-4), name
    assert ours[4] - needed < 0.5 * (plain[4] - needed)


class StopsAt(TrainerCallback):
    """Ends a training after this step, as an interruption would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


def test_a_training_taken_up_in_a_later_epoch_goes_on_with_the_rows_that_were_due(build):
    undisturbed = trained(build("undisturbed"))
    stopped = build("stopped")
    stopped.add_callback(StopsAt(4))  # of three steps an epoch
    stopped.train()
    resumed = build("resumed")
    resumed.train(resume_from_checkpoint=str(Path(stopped.args.output_dir) / "checkpoint-4"))
    assert resumed.state.global_step == 6
    assert [line["loss"] for line in resumed.state.log_history if "loss" in line] == undisturbed[0]
    for name, parameter in resumed.model.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(parameter, undisturbed[2][name]), name


def test_a_sampler_that_the_recipe_names_is_used(build):
    named = build("named", train_sampling_strategy="sequential")
    rows = [row for batch in named.get_train_dataloader() for row in batch["row_id"]]
    assert rows == [str(number) for number in range(21)]
