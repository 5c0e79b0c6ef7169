"""A training that has fewer workers than it began with, or more, keeps the rows of every step and its loss curve."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, SeedableRandomSampler
from ray.cluster_utils import Cluster
from torch.utils.data import BatchSampler

from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig
from character_ray.errors import TrainingError
from character_ray.parts import write_rows
from character_ray.rows import PAIR
from character_ray.training.job import TrainJob
from character_ray.training.launch import read_metrics, train
from character_ray.training.micro_batches import EvenSampler, StepSampler
from character_ray.training.saves_together import SavesTogether
from tests.lost_nodes import cluster_of, lose, nodes_of
from tests.train.conftest import after_step, kill_workers, pair_row

# Three steps an epoch, the last a short one that two workers share only when a row is read again.
ROWS, STEPS = 19, 12
TWO_OR_ONE = ClusterTrainConfig(
    device="cpu",
    precision="float32",
    zero_stage=0,
    workers=2,
    min_workers=1,
    cpus_per_worker=1,
    checkpoint_steps=4,
    wait_for_nodes_s=2,
    max_failures=1,
    report_to=(),
)


@pytest.fixture(scope="module")
def cluster():
    with cluster_of(2, num_cpus=1) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path):
    folder = tmp_path_factory.mktemp("fewer-workers")
    rows = [pair_row(n, f"Arr, {n}." * (1 + n % 7), f"It is {n}.") for n in range(ROWS)]
    write_rows(folder / "pairs.parquet", rows, PAIR)

    def make(name: str, **cluster) -> TrainJob:
        (folder / name).mkdir()
        lora = LoRAConfig(rank=4, alpha=8)
        config = DPOConfig(lora=lora, batch_size=8, micro_batch_size=2, learning_rate=1e-2, epochs=4)
        runs_on = TWO_OR_ONE.model_copy(update=cluster)
        return TrainJob("dpo", tiny_base, folder / "pairs.parquet", folder / name, config, runs_on, 7)

    return make


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, job: Callable[..., TrainJob]) -> list[dict[str, float]]:
    plain = job("undisturbed", min_workers=None)
    train(plain, "dpo", ROWS)
    found = read_metrics(plain.folder / "metrics.jsonl")
    assert len(found) == STEPS and not any("workers" in step for step in found)
    return found


@pytest.fixture
def two_nodes(cluster: Cluster, undisturbed) -> Cluster:
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(num_cpus=1)
    return cluster


def assert_same_curve(found: list[dict[str, float]], undisturbed: list[dict[str, float]]) -> None:
    assert [step["step"] for step in found] == list(range(1, STEPS + 1))
    for metric in {"loss", "rewards/margins", "grad_norm"} & set(undisturbed[0]):
        plain, ours = ([step[metric] for step in steps] for steps in (undisturbed, found))
        assert ours == pytest.approx(plain, rel=2e-3, abs=2e-4), metric
    assert found[-1]["loss"] < found[0]["loss"] - 0.1


def test_a_node_lost_for_good_costs_a_worker_and_changes_no_step(two_nodes, job, undisturbed, tmp_path, capsys):
    disturbed = job("lost", checkpoint_scratch=tmp_path)
    watcher = after_step(disturbed, 6, lambda: lose(two_nodes, nodes_of(two_nodes, "RayTrainWorker")[0]))
    train(disturbed, "dpo", ROWS)
    watcher.join()
    found = read_metrics(disturbed.folder / "metrics.jsonl")
    assert_same_curve(found, undisturbed)
    logged = [json.loads(line) for line in (disturbed.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["workers"] for line in logged if line["step"] <= 4] == [2] * 4, "it began anew"
    assert [step["workers"] for step in found[6:]] == [1] * 6
    said = " ".join(capsys.readouterr().out.split())
    assert "dpo goes on from its last checkpoint with 1 of train.workers=2" in said


def test_too_few_nodes_at_the_start_begin_with_fewer_workers_and_more_go_on_in_the_next_attempt(
    two_nodes, job, undisturbed, capsys
):
    short = job("short", max_failures=0)
    lose(two_nodes, next(iter(two_nodes.worker_nodes)))
    watcher = after_step(short, 6, kill_workers)
    with pytest.raises(TrainingError):
        train(short, "dpo", ROWS)
    watcher.join()
    assert "dpo begins with 1 of train.workers=2" in " ".join(capsys.readouterr().out.split())
    two_nodes.add_node(num_cpus=1)
    train(short, "dpo", ROWS)
    found = read_metrics(short.folder / "metrics.jsonl")
    assert_same_curve(found, undisturbed)
    logged = [json.loads(line) for line in (short.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["workers"] for line in logged if line["step"] <= 4] == [1] * 4, "it began anew"
    assert [step["workers"] for step in found[6:]] == [2] * 6


@pytest.mark.parametrize("rows", [3, 13, 16, 29, 61])
def test_the_rows_of_a_step_do_not_depend_on_the_number_of_workers(rows):
    cluster = ClusterTrainConfig(workers=6, min_workers=1, zero_stage=0)
    micro, micro_batches = 2, 12
    numbers = cluster.numbers_of_workers(micro_batches)
    assert numbers == [6, 4, 3, 2, 1]
    multiple = micro * cluster.evened_over(micro_batches)
    lengths = [5 + 7 * row % 31 for row in range(rows)]
    seen = {}
    for workers in numbers:
        shared = {"seed": 7, "epoch": lambda _steps: 3, "multiple": multiple}
        order = EvenSampler(rows, batch_size=micro * micro_batches, **shared)
        plain = BatchSampler(order, micro, drop_last=False)
        kinds = [
            [list(BatchSamplerShard(plain, workers, rank)) for rank in range(workers)],
            [
                list(
                    StepSampler(
                        lengths,
                        micro_batch_size=micro,
                        accumulation=micro_batches // workers,
                        workers=workers,
                        rank=rank,
                        **shared,
                    )
                )
                for rank in range(workers)
            ],
        ]
        for shards in kinds:
            assert len({len(shard) for shard in shards}) == 1, "workers would wait for each other for ever"
            size = micro_batches // workers
            steps = [
                sorted(row for shard in shards for batch in shard[start : start + size] for row in batch)
                for start in range(0, len(shards[0]), size)
            ]
            assert seen.setdefault("steps", steps) == steps
    assert {row for step in seen["steps"] for row in step} == set(range(rows))


def test_only_a_last_step_that_grows_is_another_training():
    two = {"zero_stage": 0, "workers": 2}
    fixed = ClusterTrainConfig(**two).numerics(4)
    assert ClusterTrainConfig(**two, min_workers=1).numerics(4) == fixed, (
        "a run in need may still be allowed fewer workers"
    )
    four = {"zero_stage": 0, "workers": 4}
    assert ClusterTrainConfig(**four, min_workers=2).numerics(4, 8) == ClusterTrainConfig(**four).numerics(4, 8)
    assert ClusterTrainConfig(**four, min_workers=2).numerics(4, 12)["evened_over"] == [4, 12]


def test_a_worker_without_a_random_state_of_its_own_draws_one(tmp_path):
    def drawn(workers: int, rank: int, step: int) -> float:
        trainer = object.__new__(SavesTogether)
        trainer.args = SimpleNamespace(world_size=workers, process_index=rank, seed=7)
        trainer.state = SimpleNamespace(global_step=step)
        torch.manual_seed(7)
        trainer._load_rng_state(str(tmp_path))
        return torch.rand(1).item()

    torch.manual_seed(7)
    at_the_start = torch.rand(1).item()
    found = [drawn(2, 0, 4), drawn(2, 1, 4), drawn(2, 0, 8)]
    assert len({at_the_start, *found}) == 4
    assert drawn(2, 1, 4) == found[1]


@pytest.mark.parametrize("rows", [3, 13, 16, 29])
@pytest.mark.parametrize("workers", [2, 3])
def test_an_even_order_deals_every_worker_what_plain_training_gives_them(rows, workers):
    plain = SeedableRandomSampler(range(rows), data_seed=7)
    plain.set_epoch(3)
    even = EvenSampler(rows, batch_size=12, multiple=2 * workers, seed=7, epoch=lambda _steps: 3)
    for rank in range(workers):
        dealt = []
        for order in (plain, even):
            plain.set_epoch(3)
            dealt.append(list(BatchSamplerShard(BatchSampler(order, 2, drop_last=False), workers, rank)))
        assert dealt[0] == dealt[1]
