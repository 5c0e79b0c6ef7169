"""A split that cannot work is named before anything starts."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from character_ray.config import EngineConfig
from character_ray.errors import RecipeError
from character_ray.pipeline.parallelism import check_split


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 9, "num_hidden_layers": 30}))
    return tmp_path


@pytest.mark.parametrize(("tensor", "pipeline"), [(1, 1), (3, 30), (9, 2)])
def test_a_split_that_divides_the_model_is_fine(model: Path, tensor: int, pipeline: int):
    check_split("teacher_engine", EngineConfig(tensor_parallel=tensor, pipeline_parallel=pipeline), model)


def test_heads_that_do_not_divide_are_refused_with_what_would_do(model: Path):
    with pytest.raises(RecipeError, match=r"teacher_engine\.tensor_parallel=2 .* 9 attention heads .* one of 1, 3, 9"):
        check_split("teacher_engine", EngineConfig(tensor_parallel=2), model)


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    shape = {"num_attention_heads": 28, "num_key_value_heads": 4, "num_hidden_layers": 28}
    (tmp_path / "config.json").write_text(json.dumps(shape))
    return tmp_path


@pytest.mark.parametrize("tensor", [1, 2, 4, 28])
def test_key_value_heads_may_be_shared_out_or_repeated(grouped: Path, tensor: int):
    check_split("teacher_engine", EngineConfig(tensor_parallel=tensor), grouped)


@pytest.mark.parametrize("tensor", [7, 8, 14])
def test_a_split_that_key_value_heads_do_not_allow_is_neither_taken_nor_suggested(grouped: Path, tensor: int):
    with pytest.raises(RecipeError, match=r"28 attention heads and 4 key-value heads .* one of 1, 2, 4, 28\."):
        check_split("teacher_engine", EngineConfig(tensor_parallel=tensor), grouped)


def test_more_stages_than_layers_are_refused(model: Path):
    with pytest.raises(RecipeError, match=r"pipeline_parallel=31 is more than the 30 layers"):
        check_split("student_engine", EngineConfig(pipeline_parallel=31), model)


def test_a_pool_grows_from_replicas_and_never_starts_above_its_most():
    assert EngineConfig(replicas=2, max_replicas=8).pool == (2, 8)
    assert EngineConfig(replicas=3).pool == (3, 3)
    with pytest.raises(ValidationError, match="max_replicas=1 is smaller than replicas=2"):
        EngineConfig(replicas=2, max_replicas=1)
