"""What a plan took for granted is said: shapes by a model's name, the kind of GPU."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.config import ModelConfig
from character_ray.errors import ModelError
from character_ray.model_shape import assumed_shape, find_shape

RECIPES = Path(__file__).resolve().parents[2] / "jobs" / "recipes"


def test_the_command_says_what_it_took_for_granted():
    def planned(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["plan", *arguments])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    model = ("student.name=Qwen/Qwen3-0.6B-foo", "teacher.name=Qwen/Qwen3-0.6B-foo")
    told = planned(str(RECIPES / "laptop-gpu.yaml"), *model)
    assert told.count("shape assumed from the table: qwen3-0.6b; the id was not looked up") == 1
    assert "planned for h100 (default)" in told
    told = planned(str(RECIPES / "laptop-gpu.yaml"), "--gpu", "rtx4090")
    assert "assumed" not in told
    assert "(default)" not in told
    assert "planned for" not in planned(str(RECIPES / "demo-cpu.yaml"))


def test_a_model_whose_shape_is_read_or_known_for_sure_is_not_assumed(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert assumed_shape(ModelConfig(name=str(tmp_path))) is None
    assert assumed_shape(ModelConfig()) is None
    assert assumed_shape(ModelConfig(name="Qwen/Qwen3-4B-foo")) == "qwen3-4b"
    with pytest.raises(ModelError, match=r"hf download owner/unheard-of config\.json"):
        find_shape(ModelConfig(name="owner/unheard-of"))
