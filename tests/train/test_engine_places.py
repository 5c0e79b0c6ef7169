"""What is booked for engines, which is free after their pass; the GPUs are made up, what books them is Ray's own."""

import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import ray

from character_ray.config import EngineConfig
from character_ray.inference.engine_deaths import RESTARTS, outliving
from character_ray.inference.engine_places import giving_back
from character_ray.inference.processor import build_processor
from character_ray.inference.talker import through_talkers
from character_ray.inference.weights import Weights


@pytest.fixture(scope="module", autouse=True)
def four_gpus() -> Iterator[None]:
    ray.init(address="local", num_cpus=8, num_gpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


SPLIT = EngineConfig(tensor_parallel=2, pipeline_parallel=2, max_num_seqs=4, batch_size=4)


class Echo:
    """In the engine's place: it answers on the actor that was booked for the engine."""

    def __init__(self, **_: Any) -> None:
        pass

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "free_gpus": [free_gpus()] * len(batch["id"])}


class Deadly(Echo):
    """Dies of a row as an engine of ``ray.data.llm`` does."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if "kill" in batch["row_id"]:
            os._exit(1)
        return {"row_id": batch["row_id"]}


def free_gpus() -> float:
    return ray.available_resources().get("GPU", 0.0)


def wait_for_gpus(count: float) -> None:
    deadline = time.monotonic() + 30
    while free_gpus() != count:
        assert time.monotonic() < deadline, f"{free_gpus():g} GPUs are free"
        time.sleep(0.2)


@pytest.mark.parametrize("ends_well", [True, False])
def test_an_engine_books_every_gpu_of_its_pipeline_and_gives_them_back(tmp_path: Path, ends_well: bool):
    processor = build_processor(tmp_path, SPLIT, [])
    stage = next(stage for name, stage in processor.stages.items() if "vLLM" in name)
    with nullcontext() if ends_well else pytest.raises(InterruptedError), giving_back(processor):
        book = stage.map_batches_kwargs["ray_remote_args_fn"]
        rows = ray.data.range(4).map_batches(Echo, concurrency=1, batch_size=4, num_gpus=0, ray_remote_args_fn=book)
        assert {row["free_gpus"] for row in rows.iter_rows()} == {0.0}
        time.sleep(2)
        assert free_gpus() == 0  # Ray Data alone would leave it at that.
        if not ends_well:
            raise InterruptedError
    wait_for_gpus(4)


def pool_of(dataset: ray.data.Dataset, engine: str) -> tuple[Any, dict[str, Any]]:
    """The pool of actors that Ray Data is asked for to run an engine, and what each of them books."""
    operator = dataset._logical_plan.dag
    while engine not in operator.name:
        (operator,) = operator.input_dependencies
    return operator.compute, operator.ray_remote_args


@pytest.mark.parametrize(("max_replicas", "most"), [(None, 2), (5, 5)])
def test_a_pool_starts_with_its_replicas_and_may_grow_to_as_many_as_the_recipe_says(
    tmp_path: Path, max_replicas: int | None, most: int
):
    engine = SPLIT.model_copy(update={"replicas": 2, "max_replicas": max_replicas})
    rows = [{"row_id": "r"}]
    batch, booked_beside = pool_of(build_processor(tmp_path, engine, [])(ray.data.from_items(rows)), "vLLMEngine")
    talks, booked = pool_of(through_talkers(rows, Weights(tmp_path, ()), engine), "Talker")
    for pool in (batch, talks):
        assert (pool.min_size, pool.initial_size, pool.max_size) == (2, 2, most)
    assert booked["num_gpus"] == 4
    # Ray Data starts an engine that died again without end unless it is told how often.
    assert booked_beside["max_restarts"] == RESTARTS
    assert booked_beside["num_gpus"] == 0  # its placement group books them, as above


def test_a_kept_engine_books_every_gpu_of_its_pipeline():
    assert SPLIT.model_copy(update={"keep": True, "replicas": 2}).kept_gpus == 8


def test_a_row_that_kills_its_engine_ends_the_pass_and_is_asked_apart():
    def together(rows: Any) -> Iterator[list[Any]]:
        dataset = ray.data.from_items(list(rows), override_num_blocks=4)
        engines = dataset.map_batches(Deadly, concurrency=1, batch_size=1, num_gpus=1, max_restarts=RESTARTS)
        for row in engines.iter_rows():
            yield [row]

    def apart(rows: Any) -> Iterator[list[Any]]:
        yield [{**row, "apart": True} for row in rows]

    found = [
        row
        for rows in outliving([{"row_id": word} for word in ("a", "b", "kill", "c")], together, apart)
        for row in rows
    ]
    assert sorted(row["row_id"] for row in found) == ["a", "b", "c", "kill"]
    assert next(row for row in found if row["row_id"] == "kill")["apart"]
