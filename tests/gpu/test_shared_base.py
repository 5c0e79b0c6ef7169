"""Trainings side by side on one GPU read one copy of the base, which is gone when they are."""

import time
from pathlib import Path

import pytest
import ray

from character_ray.config import ClusterTrainConfig, ModelConfig
from character_ray.models import resolve_model
from character_ray.training.lent_weights import IDLE_S, NAMESPACE
from tests.gpu.training import train_dpo

pytestmark = pytest.mark.gpu


def holders() -> list[str]:
    actors = ray.util.list_named_actors(all_namespaces=True)
    return [actor["name"] for actor in actors if actor["namespace"] == NAMESPACE]


@pytest.mark.parametrize("zero_stage", [0, 2])
def test_two_trainings_at_once_learn_what_one_does_alone(tmp_path: Path, zero_stage: int):
    base = resolve_model(ModelConfig())
    weights_gib = (base / "model.safetensors").stat().st_size / 2**30
    alone = train_dpo(base, tmp_path, ClusterTrainConfig(zero_stage=zero_stage))
    part = ClusterTrainConfig(zero_stage=zero_stage, gpu_share=0.4, share_base=True)
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    training = ray.remote(num_cpus=0)(train_dpo)
    together = ray.get([training.remote(base, folder, part) for folder in folders])
    assert len(holders()) == 1
    for steps in together:
        assert [step["loss"] for step in steps] == pytest.approx([step["loss"] for step in alone], abs=1e-3)
        assert steps[-1]["peak_memory_gib"] < alone[-1]["peak_memory_gib"] - 0.9 * weights_gib
    print({"zero_stage": zero_stage, "alone": alone[-1]["peak_memory_gib"], "shared": steps[-1]["peak_memory_gib"]})
    deadline = time.monotonic() + IDLE_S + 30
    while holders() and time.monotonic() < deadline:
        time.sleep(1)
    assert not holders()
