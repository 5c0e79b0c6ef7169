"""A training that loses one of three nodes ends with the weights of an undisturbed one; where too few are left a run says so.

What a generation makes of a lost node is shown with real engines in ``tests/engine/test_generation.py``.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray.data
from ray.cluster_utils import Cluster

from character_ray.cluster_room import Need
from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig
from character_ray.errors import ClusterError
from character_ray.inference.arrivals import arriving
from character_ray.parts import write_rows
from character_ray.rows import PAIR
from character_ray.training.job import TrainJob
from character_ray.training.launch import train
from tests.lost_nodes import cluster_of, lose, nodes_of
from tests.train.conftest import after_step, assert_nothing_changed, pair_row

ROWS = 24
CONFIG = DPOConfig(
    lora=LoRAConfig(rank=4, alpha=8), batch_size=4, micro_batch_size=2, max_length=64, learning_rate=1e-2, epochs=6
)
# Two workers of one core on nodes of one core: each has a node of its own.
TWO_NODES = ClusterTrainConfig(
    device="cpu", precision="float32", workers=2, cpus_per_worker=1, checkpoint_steps=5, wait_for_nodes_s=2
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_of(3, num_cpus=1) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path):
    folder = tmp_path_factory.mktemp("lost-node")
    rows = [pair_row(number, f"Arr, {number} be me answer.", f"The answer is {number}.") for number in range(ROWS)]
    write_rows(folder / "pairs.parquet", rows, PAIR)

    def make(name: str, cluster: ClusterTrainConfig = TWO_NODES) -> TrainJob:
        (folder / name).mkdir()
        return TrainJob("dpo", tiny_base, folder / "pairs.parquet", folder / name, CONFIG, cluster, seed=7)

    return make


class Slow:
    """Stands for an engine."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.1)
        return batch


def test_a_node_lost_midway_changes_nothing(cluster, job):
    undisturbed, disturbed = job("undisturbed"), job("disturbed")
    train(undisturbed, "dpo", ROWS)
    watcher = after_step(disturbed, 8, lambda: lose(cluster, nodes_of(cluster, "RayTrainWorker")[0]))
    train(disturbed, "dpo", ROWS)
    watcher.join()
    assert len(cluster.worker_nodes) == 2
    assert_nothing_changed(undisturbed, disturbed)


def test_nodes_that_cannot_hold_the_workers_are_named_after_a_while(cluster, job):
    more = TWO_NODES.model_copy(update={"workers": len(cluster.worker_nodes) + 1})
    with pytest.raises(ClusterError) as caught:
        train(job("too-many", more), "dpo", ROWS)
    assert f"dpo training needs {more.workers} workers with 1 CPU each" in str(caught.value)
    assert f"have room for {more.workers - 1} (" in str(caught.value)
    assert "wait_for_nodes_s=2" in str(caught.value)


def test_rows_that_no_node_can_make_any_more_are_waited_for_only_a_while(cluster):
    numbers = ray.data.from_items([{"number": number} for number in range(200)], override_num_blocks=200)
    dataset = numbers.map_batches(Slow, batch_size=1, concurrency=1, num_cpus=1)
    need = Need("an engine", "node", {"CPU": 1}, 1, "start them with CPUs")
    arrived = []
    with pytest.raises(ClusterError, match=r"an engine needs 1 node with 1 CPU, .* have room for 0 \(1 with no CPU\)"):
        for rows in arriving(dataset, need, patience_s=2):
            arrived += [row["number"] for row in rows]
            for node in list(cluster.worker_nodes):
                lose(cluster, node)
    assert 0 < len(arrived) == len(set(arrived)) < 200
