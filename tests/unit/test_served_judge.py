"""The second model of a deployment: what a recipe and the command line say of it, and what it runs on."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from character_ray.config import EngineConfig, ModelConfig, ServeConfig, ServedJudgeConfig
from character_ray.errors import ModelError
from character_ray.models import model_hash, resolve_model
from character_ray.serving.judge import engine_of_judge, find_judge, places_of_judge, settings_of_judge, with_judge
from character_ray.serving.spread import replica_options
from character_ray.vllm_options import engine_environment

OWN = EngineConfig(device="cpu", max_num_seqs=10)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"min_replicas": 2}, "max_replicas=1 is smaller than min_replicas=2"),
        ({"engine": {"replicas": 2}}, "set min_replicas and max_replicas beside engine"),
        ({"engine": {"keep": True}}, "engine.keep and engine.lora_kernels have no effect"),
        ({"engine": {"lora_kernels": "/kernels"}}, "engine.keep and engine.lora_kernels have no effect"),
        ({"model": "wise"}, "model"),
    ],
)
def test_a_judge_that_makes_no_sense_is_refused(changes: dict[str, Any], why: str):
    with pytest.raises(ValidationError, match=why):
        ServedJudgeConfig.model_validate({"model": {"name": "wise"}} | changes)


def test_the_command_lines_judge_takes_the_place_of_the_recipes_on_its_engine():
    recipes = ServeConfig(judge=ServedJudgeConfig(model=ModelConfig(name="old"), engine=OWN, max_replicas=3))
    assert with_judge(recipes, None) is recipes
    named = with_judge(recipes, "new").judge
    assert named == ServedJudgeConfig(model=ModelConfig(name="new"), engine=OWN, max_replicas=3)
    assert with_judge(ServeConfig(), "new").judge == ServedJudgeConfig(model=ModelConfig(name="new"))


def test_it_runs_as_the_base_does_but_for_what_is_the_bases():
    base = EngineConfig(tensor_parallel=2, lora_kernels=Path("kernels"), vllm={"quantization": "fp8"})
    found = engine_of_judge(ServedJudgeConfig(model=ModelConfig()), base)
    assert found == EngineConfig(tensor_parallel=2)
    assert engine_of_judge(ServedJudgeConfig(model=ModelConfig(), engine=OWN), base) == OWN


def test_its_replicas_and_their_load_are_its_own():
    judge = ServedJudgeConfig(model=ModelConfig(), engine=OWN, min_replicas=2, max_replicas=3)
    serve = ServeConfig(judge=judge, target_requests=100, max_queued_requests=5)
    own = settings_of_judge(serve, OWN)
    scaling = replica_options(own, OWN)["autoscaling_config"]
    assert scaling == {"min_replicas": 2, "max_replicas": 3, "target_ongoing_requests": 7}
    assert places_of_judge(own, OWN) == 3 * (10 + 5)


def test_it_is_known_by_its_models_name_and_hash(tmp_path: Path):
    assert find_judge(ServeConfig()) is None
    folder = resolve_model(ModelConfig())
    found = find_judge(ServeConfig(judge=ServedJudgeConfig(model=ModelConfig(name=str(folder)))))
    assert (found.name, found.weights_hash) == (folder.name, model_hash(folder))
    with pytest.raises(ModelError, match="nowhere"):
        find_judge(with_judge(ServeConfig(), str(tmp_path / "nowhere")))


def test_two_engines_of_a_node_are_not_bound_to_the_same_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    engine = EngineConfig(device="cpu", cpus=2)
    assert engine_environment(engine)["VLLM_CPU_OMP_THREADS_BIND"] == "0,1"
    assert engine_environment(engine)["OMP_PLACES"] == "{0,1}"
    assert engine_environment(engine, alone=False)["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert "OMP_PLACES" not in engine_environment(engine, alone=False)
