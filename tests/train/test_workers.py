"""The same batch split over more workers is the same training."""

from pathlib import Path

import pytest
import ray

from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig
from character_ray.parts import write_rows
from character_ray.rows import PAIR
from character_ray.training.job import TrainJob
from character_ray.training.launch import read_metrics, train
from tests.train.conftest import pair_row

STEPS = 4
CONFIG = DPOConfig(
    lora=LoRAConfig(rank=4, alpha=8),
    batch_size=12,
    micro_batch_size=2,
    max_length=64,
    learning_rate=1e-2,
    nll_weight=0.1,
)


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path):
    folder = tmp_path_factory.mktemp("workers")
    rows = [
        pair_row(number, f"Arr, {number} be me answer." * (1 + number % 3), f"The answer is {number}.")
        for number in range(12 * STEPS)
    ]
    write_rows(folder / "pairs.parquet", rows, PAIR)
    cluster = ClusterTrainConfig(device="cpu", precision="float32", cpus_per_worker=1, report_to=())
    found = {}
    for workers in (1, 2, 3):
        job = TrainJob(
            "dpo",
            tiny_base,
            folder / "pairs.parquet",
            folder / str(workers),
            CONFIG,
            cluster.model_copy(update={"workers": workers}),
            seed=7,
        )
        job.folder.mkdir()
        train(job, "dpo", len(rows))
        found[workers] = read_metrics(job.folder / "metrics.jsonl")
    return found


@pytest.mark.parametrize("workers", [2, 3])
def test_more_workers_reach_the_same_loss_curve(curves, workers):
    for metric in ("loss", "rewards/margins", "grad_norm"):
        one, more = ([step[metric] for step in curves[count]] for count in (1, workers))
        assert len(one) == len(more) == STEPS
        assert more == pytest.approx(one, rel=2e-3, abs=2e-4), metric
    assert curves[1][-1]["rewards/margins"] > 0.05
