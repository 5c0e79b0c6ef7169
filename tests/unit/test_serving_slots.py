"""Slots for adapters: one for each persona, as far as they fit beside the base."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.shapes import SHAPES
from character_ray.config import EngineConfig, ServeConfig
from character_ray.serving.slots import adapter_slots


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(SHAPES["qwen3-4b"]))
    return tmp_path


def slots(base: Path, size: int, personas: int, *, followed: bool = False, **settings: Any) -> tuple[int, int]:
    return adapter_slots(ServeConfig(**settings), EngineConfig(), base, size, personas, followed=followed)


def test_every_persona_has_a_slot_up_to_sixteen(qwen: Path):
    assert slots(qwen, 32, 3) == (3, 3)
    assert slots(qwen, 32, 40) == (16, 16)
    assert slots(qwen, 32, 1, followed=True) == (16, 16)


def test_the_slots_of_large_ranks_leave_room(qwen: Path):
    assert slots(qwen, 128, 40) == (8, 16)  # 4 GiB, 0.53 GB a slot
    assert slots(qwen, 320, 40) == (4, 16)  # 1.3 GB a slot: at least four


def test_what_the_recipe_says_goes_before(qwen: Path):
    assert slots(qwen, 320, 40, max_loras=6, max_cpu_loras=2) == (6, 6)
    assert slots(qwen, 32, 40, max_cpu_loras=2) == (2, 2)
    assert slots(qwen, 32, 1, followed=True, max_loras=1) == (2, 16)


def test_a_base_of_fewer_bytes_on_a_gpu_leaves_room_for_fewer(qwen: Path):
    shape = SHAPES["qwen3-4b"] | {"num_hidden_layers": 144}  # four times as many layers
    (qwen / "config.json").write_text(json.dumps(shape))
    whole = EngineConfig(dtype="float32")
    assert adapter_slots(ServeConfig(), whole, qwen, 32, 40, followed=False)[0] == 16
    assert adapter_slots(ServeConfig(), EngineConfig(), qwen, 64, 40, followed=False)[0] == 9  # 9.9 GB, 1.06 a slot
    spread = EngineConfig(tensor_parallel=8)
    assert adapter_slots(ServeConfig(), spread, qwen, 64, 40, followed=False)[0] == 4
    (qwen / "config.json").write_text(json.dumps(shape | {"quantization_config": {"quant_method": "awq", "bits": 4}}))
    assert adapter_slots(ServeConfig(), EngineConfig(), qwen, 64, 40, followed=False)[0] == 4


def test_a_model_of_another_kind_gets_few(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    assert slots(tmp_path, 32, 40) == (4, 16)
