"""The application as a Serve config file names it, for ``serve deploy`` and KubeRay's RayService.

    import_path: character_ray.serving.deploy:build
    args: {runs: [/runs/captain, /runs/tutor], serve: {max_replicas: 4}}
    args: {registry: /registry}
    args: {registry: s3://models/registry}
    args: {registry: /registry, serve: {judge: {model: {name: Qwen/Qwen3-4B-Instruct-2507}}}}

Address and port belong to the file's ``http_options``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from character_ray.config import Config
from character_ray.errors import ServingError
from character_ray.serving.app import build_persona_app
from character_ray.serving.leading import leading
from character_ray.serving.runs import open_run

if TYPE_CHECKING:
    from ray.serve import Application

__all__ = ["build"]


class DeployArguments(Config):
    """What stands under ``args``."""

    runs: tuple[Path, ...] = ()
    """Run folders, or adapter folders, of one base model, on storage that every node sees."""

    registry: str | None = None
    """Folder of a registry, on such storage, or its s3://bucket/prefix; its live personas are served, too, and followed."""

    base: str = ""
    """Base model to serve, by the name that its personas' manifests have; without it the first run's, or the one that most of the
    registry's live personas were trained on. Name it where others publish into the registry, too."""

    serve: dict[str, Any] = Field(default_factory=dict)
    """Fields of the recipe's ``serve`` section to override."""

    engine: dict[str, Any] = Field(default_factory=dict)
    """Fields of the recipe's ``student_engine`` section to override."""


def build(args: dict[str, Any]) -> "Application":
    """The application of the runs; the first run's recipe decides what ``serve`` and ``engine`` do not override.

    Raises:
        ServingError: The arguments are not valid, or there is nothing to serve.
        StorageError: The registry's bucket cannot be read.
        ModelError: The base model or the judge cannot be found.
        AdapterError: A run has no adapter, or one that may not be served beside the others; or nothing of the registry may be.
    """
    try:
        wanted = DeployArguments.model_validate(args)
        trained = [open_run(run) for run in wanted.runs]
        first = leading(trained, wanted.registry, wanted.base)
        serve = type(first.serve).model_validate({**first.serve.model_dump(), **wanted.serve})
        engine = type(first.engine).model_validate({**first.engine.model_dump(), **wanted.engine})
    except ValidationError as failure:
        problems = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in failure.errors())
        raise ServingError(
            f"the arguments of character_ray.serving.deploy:build are not valid: {problems}. They are runs (a list of folders), "
            "registry (a folder or s3://bucket/prefix), base (a model's name), serve and engine (fields of the recipe's serve and "
            "student_engine sections)."
        ) from None
    return build_persona_app(first.base, [each.adapter for each in trained], serve, engine, wanted.registry)
