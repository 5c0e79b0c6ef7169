"""From the folder of a run, or of an adapter alone, to what it takes to speak with it."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from character_ray.adapters import Manifest, load_manifest
from character_ray.config import EngineConfig, ModelConfig, Recipe, SamplingConfig, ServeConfig
from character_ray.errors import AdapterError

__all__ = ["Trained", "open_run"]


@dataclass(frozen=True)
class Trained:
    """A trained persona on disk, with the settings of the recipe that made it."""

    adapter: Path
    manifest: Manifest
    base: ModelConfig
    engine: EngineConfig
    serve: ServeConfig
    sampling: SamplingConfig
    seed: int


def open_run(path: Path) -> Trained:
    """The persona in a run folder (``runs/demo``) or an adapter folder.

    Raises:
        AdapterError: There is no adapter, it is damaged, or its recipe cannot be read.
    """
    adapter = _find_adapter(path)
    manifest = load_manifest(adapter)
    recipe = _recipe(path, manifest)
    if recipe is None:
        base = ModelConfig(name=manifest.base_model.name, revision=manifest.base_model.revision)
        return Trained(adapter, manifest, base, EngineConfig(), ServeConfig(), SamplingConfig(), manifest.seed)
    return Trained(
        adapter, manifest, recipe.student, recipe.student_engine, recipe.serve, recipe.evaluate.sampling, recipe.seed
    )


def _find_adapter(path: Path) -> Path:
    # A run links its deliverable as adapter/ when it was measured, and as a stage as soon as it was trained.
    for folder in (path, path / "adapter", path / "full" / "served", path / "full" / "adapter"):
        if (folder / "adapter_config.json").is_file():
            return folder
    if not path.is_dir():
        raise AdapterError(f"{path} does not exist. Give the folder of a run, such as runs/demo, or of an adapter.")
    if (path / "run.json").is_file():
        raise AdapterError(
            f"{path} is a run without an adapter: its training has not finished. Run it again; finished stages are "
            "reused."
        )
    raise AdapterError(
        f"{path} is neither a run (it has no full/adapter) nor an adapter (it has no adapter_config.json). Check the path."
    )


def _recipe(path: Path, manifest: Manifest) -> Recipe | None:
    """The run's recipe, else the one in the adapter's manifest, which may be empty."""
    source = path / "run.json"
    data = json.loads(source.read_text(encoding="utf-8"))["recipe"] if source.is_file() else manifest.recipe
    if not data:
        return None
    try:
        return Recipe.model_validate(data)
    except ValidationError as failure:
        error = failure.errors()[0]
        raise AdapterError(
            f"{path}: this version cannot read the recipe it was trained with "
            f"({'.'.join(map(str, error['loc']))}: {error['msg']}). Serve it with the version that trained it."
        ) from None
