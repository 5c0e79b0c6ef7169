"""From a folder on disk to a server's settings, and what is checked before an engine starts."""

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from character_ray.adapters import BaseModelId, Manifest, weights_hash, write_manifest
from character_ray.config import EngineConfig, Recipe, ServeConfig
from character_ray.errors import AdapterError, ServingError
from character_ray.serving.running import check_port, last_error
from character_ray.serving.runs import open_run
from character_ray.vllm_options import engine_kwargs, lora_size

RECIPE = {
    "name": "demo",
    "constitution": "constitutions/captain-blackwood.yaml",
    "seed": 5,
    "student_engine": {"device": "cpu"},
    "serve": {"port": 8111},
    "evaluate": {"sampling": {"max_tokens": 33}},
}


@pytest.fixture
def adapter() -> Callable[..., None]:
    """Fills a folder with an adapter."""

    def write(folder: Path, recipe: dict[str, object] | None = None) -> None:
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "lora_alpha": 8}))
        manifest = Manifest(
            persona="Pirate",
            slug="pirate",
            stage="full",
            base_model=BaseModelId(name="tiny", revision="abc", hash="h"),
            template_hash="t",
            constitution_hash="c",
            rank=8,
            weights_hash=weights_hash(folder),
            recipe=recipe or {},
            seed=3,
        )
        write_manifest(folder, manifest)

    return write


def test_a_run_brings_its_recipe(tmp_path: Path, adapter: Callable[..., None]):
    adapter(tmp_path / "adapter")
    recipe = Recipe.model_validate(RECIPE).model_dump(mode="json")
    (tmp_path / "run.json").write_text(json.dumps({"recipe": recipe, "stages": {}}))
    trained = open_run(tmp_path)
    assert trained.adapter == tmp_path / "adapter"
    assert (trained.engine.device, trained.serve.port, trained.sampling.max_tokens, trained.seed) == (
        "cpu",
        8111,
        33,
        5,
    )


def test_a_run_can_be_used_without_the_packages_that_only_its_training_needed(tmp_path, adapter, monkeypatch):
    for package in ("wandb", "tensorboard", "tensorboardX", "liger_kernel"):
        monkeypatch.setitem(sys.modules, package, None)
    adapter(tmp_path / "a", RECIPE | {"train": {"report_to": ["wandb", "tensorboard"], "liger": True}})
    assert open_run(tmp_path / "a").serve.port == 8111


def test_a_run_that_is_trained_and_not_yet_measured_can_be_used(tmp_path: Path, adapter: Callable[..., None]):
    adapter(tmp_path / "store" / "full-0123" / "adapter", RECIPE)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "run.json").write_text(json.dumps({"recipe": RECIPE, "stages": {}}))
    (tmp_path / "demo" / "full").symlink_to(Path("..") / "store" / "full-0123")
    assert open_run(tmp_path / "demo").adapter == tmp_path / "demo" / "full" / "adapter"
    adapter(tmp_path / "store" / "full-0123" / "served", RECIPE)
    assert open_run(tmp_path / "demo").adapter == tmp_path / "demo" / "full" / "served", (
        "what the other was recompressed to"
    )


def test_an_adapter_alone_brings_the_recipe_of_its_manifest(tmp_path: Path, adapter: Callable[..., None]):
    adapter(tmp_path / "a", RECIPE)
    assert open_run(tmp_path / "a").serve.port == 8111


def test_an_adapter_without_a_recipe_names_its_base(tmp_path: Path, adapter: Callable[..., None]):
    adapter(tmp_path / "a")
    trained = open_run(tmp_path / "a")
    assert (trained.base.name, trained.base.revision, trained.seed) == ("tiny", "abc", 3)


def test_a_recipe_of_another_version_is_an_error_that_names_the_field(tmp_path: Path, adapter: Callable[..., None]):
    adapter(tmp_path / "a", RECIPE | {"flux_capacitor": 1})
    with pytest.raises(AdapterError, match="flux_capacitor"):
        open_run(tmp_path / "a")


def test_folders_that_hold_no_adapter_say_what_they_are(tmp_path: Path):
    with pytest.raises(AdapterError, match="does not exist"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(AdapterError, match="neither a run"):
        open_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(AdapterError, match="has not finished"):
        open_run(tmp_path)


def test_a_port_in_use_is_noticed_before_an_engine_starts():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = ServeConfig(port=taken.getsockname()[1])
        with pytest.raises(ServingError, match=f"127.0.0.1:{config.port}"):
            check_port(config)
    check_port(config)


def test_the_last_error_of_a_traceback_is_the_one_that_counts():
    text = 'Error:\nTraceback\n  File "a.py"\nRuntimeError: first\n  File "b.py"\nmy.pkg.OtherError: the\n  cause'
    assert last_error(text) == "my.pkg.OtherError: the cause"
    assert last_error("no traceback") == "no traceback"


@pytest.mark.parametrize(("rank", "size"), [(1, 1), (2, 8), (32, 32), (288, 320), (512, 512)])
def test_the_adapter_slots_are_the_smallest_that_hold_the_rank(rank: int, size: int):
    assert lora_size(rank) == size


def test_a_rank_beyond_every_slot_is_refused():
    with pytest.raises(AdapterError, match="513"):
        lora_size(513)


def test_the_output_layer_gets_no_adapter_slot():
    assert "lm_head" not in engine_kwargs(EngineConfig(), adapter_rank=8)["lora_target_modules"]


def test_an_engine_without_adapters_pays_for_none():
    assert not [key for key in engine_kwargs(EngineConfig()) if "lora" in key]


def test_engine_arguments_of_the_recipe_win():
    assert engine_kwargs(EngineConfig(vllm={"enable_prefix_caching": False}))["enable_prefix_caching"] is False


def test_vllm_computes_adapters_with_ours_beside_it():
    on_cpu, on_gpu = EngineConfig(device="cpu"), EngineConfig(device="gpu")
    assert engine_kwargs(on_cpu, adapter_rank=8)["worker_extension_cls"].endswith("cpu_lora.CPULoRA")
    assert engine_kwargs(on_gpu, adapter_rank=8)["worker_extension_cls"].endswith("gpu_lora.GPULoRA")
    for engine in (on_cpu, on_gpu):
        assert "worker_extension_cls" not in engine_kwargs(engine)
