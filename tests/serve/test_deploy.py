"""The application that a Serve config file names."""

from pathlib import Path

import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from character_ray.config import ModelConfig, ServeConfig
from character_ray.errors import AdapterError, ServingError
from character_ray.models import model_hash, resolve_model
from character_ray.serving.deploy import build
from tests.other_weights import without_a_layer

BASE = ModelConfig().name
CLUSTER = Path(__file__).resolve().parents[2] / "cluster"


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    """Asked for an LLM deployment, Ray Serve would start a Ray of its own that nobody stops."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def ray_service() -> dict:
    written = (CLUSTER / "kuberay" / "rayservice.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(yaml.safe_load(written)["spec"]["serveConfigV2"])


def config_file() -> dict:
    return yaml.safe_load((CLUSTER / "serve.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        (ray_service, "/runs/cluster-235b does not exist"),
        (config_file, "/shared/registry has no live persona"),
    ],
)
def test_a_shipped_config_is_one_of_serve_s_and_names_a_builder_that_takes_its_arguments(read, problem):
    config = ServeDeploySchema.model_validate(read())
    (application,) = config.applications
    module, _, name = application.import_path.partition(":")
    assert (module, name) == (build.__module__, build.__name__)
    with pytest.raises((AdapterError, ServingError), match=problem):
        build(application.args)


def test_a_builder_makes_an_application_of_adapters(adapters):
    runs = [str(adapters["captain-blackwood"]), str(adapters["garden-poet"])]
    application = build({"runs": runs, "serve": {"ingresses": 2}})
    assert type(application).__name__ == "Application"
    assert application._bound_deployment.num_replicas == 2


@pytest.mark.parametrize(("replicas", "bound"), [(1, True), (2, False)])
def test_replicas_that_may_share_a_node_are_not_bound_to_the_same_cores(adapters, monkeypatch, replicas, bound):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    engine, serve = {"device": "cpu", "cpus": 2}, {"max_replicas": replicas}
    application = build({"runs": [str(adapters["captain-blackwood"])], "serve": serve, "engine": engine})
    (deployed,) = application._bound_deployment.init_kwargs["llm_deployments"].values()
    variables = deployed._bound_deployment.init_kwargs["llm_config"].runtime_env["env_vars"]
    assert variables.get("OMP_PLACES") == ("{0,1}" if bound else None)


def test_a_judge_is_a_second_engine_of_the_application_without_adapters(adapters, tmp_path):
    folder = tmp_path / "wise"
    without_a_layer(resolve_model(ModelConfig()), folder)
    engine = {"device": "cpu", "cpus": 1, "max_num_seqs": 3}
    serve = {"judge": {"model": {"name": str(folder)}, "engine": engine, "max_replicas": 2}}
    application = build({"runs": [str(adapters["captain-blackwood"])], "serve": serve, "engine": {"device": "cpu"}})
    bound = application._bound_deployment.init_kwargs
    assert set(bound["llm_deployments"]) == set(bound["model_cards"]) == {BASE, "judge"}
    assert bound["catalogue"].card("judge")["metadata"]["weights_hash"] == model_hash(folder)
    assert bound["places"] == {"judge": 2 * (3 + ServeConfig().max_queued_requests)}
    base, judge = (bound["llm_deployments"][name]._bound_deployment for name in (BASE, "judge"))
    assert (base.name, judge.name) == (f"PersonaServer:{BASE}", "ModelServer:judge")
    config = judge.init_kwargs["llm_config"]
    assert config.model_loading_config.model_source == str(folder)
    assert config.engine_kwargs["max_num_seqs"] == 3
    assert config.lora_config is None and "enable_lora" not in config.engine_kwargs
    assert config.runtime_env["env_vars"]["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert base.init_kwargs["llm_config"].lora_config is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"serve": {"judge": {"name": "wise"}}}, r"judge\.model: Field required"),
        ({"runs": []}, "give runs, or a registry with a live persona"),
        ({"run": ["x"]}, "run: Extra inputs are not permitted"),
        ({"serve": {"max_lora_rank": 7}}, "max_lora_rank"),
    ],
)
def test_arguments_that_are_not_valid_are_named(adapters, changes, message):
    with pytest.raises(ServingError, match=message):
        build({"runs": [str(adapters["captain-blackwood"])]} | changes)
