"""GPUs booked for an engine over several of them are free after its pass; the GPUs are made up, what books them is Ray's own."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import ray

from character_ray.config import EngineConfig
from character_ray.inference.engine_places import giving_back
from character_ray.inference.processor import build_processor


@pytest.fixture(scope="module", autouse=True)
def two_gpus() -> Iterator[None]:
    ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class Echo:
    """In the engine's place: it answers on the actor that was booked for the engine."""

    def __init__(self, **_: Any) -> None:
        pass

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "free_gpus": [free_gpus()] * len(batch["id"])}


def free_gpus() -> float:
    return ray.available_resources().get("GPU", 0.0)


def wait_for_gpus(count: float) -> None:
    deadline = time.monotonic() + 30
    while free_gpus() != count:
        assert time.monotonic() < deadline, f"{free_gpus():g} GPUs are free"
        time.sleep(0.2)


@pytest.mark.parametrize("ends_well", [True, False])
def test_an_engine_over_two_gpus_gives_them_back(tmp_path: Path, ends_well: bool):
    processor = build_processor(tmp_path, EngineConfig(tensor_parallel=2, max_num_seqs=4, batch_size=4), [])
    stage = next(stage for name, stage in processor.stages.items() if "vLLM" in name)
    with nullcontext() if ends_well else pytest.raises(InterruptedError), giving_back(processor):
        book = stage.map_batches_kwargs["ray_remote_args_fn"]
        rows = ray.data.range(4).map_batches(Echo, concurrency=1, batch_size=4, num_gpus=0, ray_remote_args_fn=book)
        assert {row["free_gpus"] for row in rows.iter_rows()} == {0.0}
        time.sleep(2)
        assert free_gpus() == 0  # Ray Data alone would leave it at that.
        if not ends_well:
            raise InterruptedError
    wait_for_gpus(2)
