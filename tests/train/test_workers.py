"""The same batch split over more workers is the same training, and what ends one worker ends all."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig, SFTConfig
from character_ray.errors import TrainingError
from character_ray.parts import write_rows
from character_ray.rows import CONVERSATION, PAIR
from character_ray.training.job import TrainJob
from character_ray.training.launch import read_metrics, train
from character_ray.training.worker import FATAL, train_worker
from tests.train.conftest import after_step, assert_nothing_changed, kill_workers, pair_row

pytestmark = pytest.mark.usefixtures("local_ray")

STEPS = 4
ROWS = 21
CONFIG = DPOConfig(
    lora=LoRAConfig(rank=4, alpha=8),
    batch_size=12,
    micro_batch_size=2,
    max_length=64,
    learning_rate=1e-2,
    nll_weight=0.1,
)


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


@pytest.fixture
def of_two(tmp_path: Path, tiny_base: Path):
    """A training of two workers over rows of many lengths, the last step of an epoch a short one."""

    def make(stage: str, name: str) -> TrainJob:
        said = {"kind": "reflection", "role": "diary", "score": 1.0, "drop_reason": ""}
        rows = [pair_row(n, f"Arr, {n}." * (1 + n % 7), f"It is {n}.") for n in range(ROWS)]
        talks = [said | {"row_id": row["row_id"], "messages": [*row["prompt"], *row["chosen"]]} for row in rows]
        data = tmp_path / f"{stage}.parquet"
        write_rows(data, *((rows, PAIR) if stage == "dpo" else (talks, CONVERSATION)))
        cluster = ClusterTrainConfig(
            device="cpu", precision="float32", cpus_per_worker=1, report_to=(), workers=2, checkpoint_steps=4
        )
        config = (DPOConfig if stage == "dpo" else SFTConfig)(
            lora=LoRAConfig(rank=4, alpha=8), batch_size=8, micro_batch_size=2, learning_rate=1e-2, epochs=4
        )
        (tmp_path / name).mkdir()
        return TrainJob(stage, tiny_base, data, tmp_path / name, config, cluster, seed=7)

    return make


@pytest.mark.parametrize("stage", ["dpo", "sft"])
def test_two_workers_that_are_killed_in_a_later_epoch_go_on_with_the_rows_that_were_due(of_two, stage):
    undisturbed, disturbed = of_two(stage, "undisturbed"), of_two(stage, "disturbed")
    train(undisturbed, stage, ROWS)
    killed: list[int] = []
    # Three steps an epoch: the checkpoint of step 4 lies in the second.
    watcher = after_step(disturbed, 6, lambda: killed.extend(kill_workers()))
    train(disturbed, stage, ROWS)
    watcher.join()
    assert killed
    assert_nothing_changed(undisturbed, disturbed)


class OneCannotCopy(TrainJob):
    """The second worker does not reach the storage that checkpoints are copied to."""

    @property
    def checkpoints(self) -> Path:
        return self.folder / "metrics.jsonl" if os.environ.get("RANK") == "1" else super().checkpoints


@pytest.fixture
def two_workers(tmp_path: Path, tiny_base: Path):
    rows = [pair_row(number, f"Arr, {number} be me answer.", f"The answer is {number}.") for number in range(24)]
    write_rows(tmp_path / "pairs.parquet", rows, PAIR)
    cluster = ClusterTrainConfig(
        device="cpu",
        precision="float32",
        cpus_per_worker=1,
        report_to=(),
        workers=2,
        zero_stage=0,
        checkpoint_steps=1,
        checkpoint_scratch=tmp_path / "scratch",
    )
    config = CONFIG.model_copy(update={"batch_size": 4})
    (tmp_path / "dpo").mkdir()
    return OneCannotCopy("dpo", tiny_base, tmp_path / "pairs.parquet", tmp_path / "dpo", config, cluster, seed=7)


@pytest.mark.timeout(300)  # the other worker would wait for half an hour
def test_a_copy_that_fails_on_one_worker_ends_the_training_and_is_not_tried_again(two_workers):
    with pytest.raises(TrainingError, match=r"dpo: a checkpoint could not be copied to .*Mend the storage"):
        train(two_workers, "dpo", 24)
    steps = [step["step"] for step in read_metrics(two_workers.folder / "metrics.jsonl")]
    assert 1 <= len(steps) < 6
    assert len((two_workers.folder / "metrics.jsonl").read_text().splitlines()) == len(steps), "no step was taken twice"


def test_once_one_worker_has_found_out_that_it_cannot_go_on_none_begins(tmp_path, tiny_base):
    rows = [pair_row(0, "Arr.", "It is so.") | {"drop_reason": "empty"}]
    write_rows(tmp_path / "pairs.parquet", rows, PAIR)
    cluster = ClusterTrainConfig(device="cpu", precision="float32", report_to=(), zero_stage=0)
    job = TrainJob("dpo", tiny_base, tmp_path / "pairs.parquet", tmp_path, CONFIG, cluster, seed=7)
    train_worker({"job": job})
    assert "no row is left to train on" in (tmp_path / FATAL).read_text()
    of_two = replace(job, cluster=cluster.model_copy(update={"workers": 2}))
    train_worker({"job": of_two})
    (tmp_path / FATAL).unlink()
    with pytest.raises(TrainingError, match="no row is left"):  # the other one would wait for this one
        train_worker({"job": of_two})
    assert (tmp_path / FATAL).is_file()
