"""Which personas a deployment serves, and the checks each passes before an engine starts."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from character_ray.adapters import Manifest, load_manifest
from character_ray.canary import Canary, load_canary
from character_ray.config import ServeConfig
from character_ray.config.evaluation import LARGEST_RANK
from character_ray.errors import AdapterError
from character_ray.models import build_once, cache_folder, model_hash, template_hash
from character_ray.registry import Status, run_ratings
from character_ray.yardstick import Yardstick, run_yardstick

__all__ = ["Persona", "load_personas", "pinned_copy"]

_FILES = ("adapter_config.json", "adapter_model.safetensors", "manifest.json")


@dataclass(frozen=True)
class Persona:
    """An adapter that passed its checks."""

    manifest: Manifest
    folder: Path
    canary: Canary | None = None
    yardstick: Yardstick | None = None
    ratings: Mapping[str, float] = field(default_factory=dict)
    """Headline figures of its run's report; empty where there is none."""
    status: Status = "live"
    """What the registry says of this version; one of a run folder is live."""

    @property
    def slug(self) -> str:
        """Its name as clients ask for it."""
        return self.manifest.slug

    @property
    def pinned(self) -> str:
        """Its name inside vLLM, whose prefix cache is keyed by it: other weights must never come under this name."""
        return f"{self.manifest.slug}-{self.manifest.weights_hash}"


def load_personas(base_name: str, base: Path, adapters: Sequence[Path], serve: ServeConfig) -> tuple[Persona, ...]:
    """The adapters as personas of one deployment.

    Args:
        base_name: The base model as the user named it, for messages.
        base: Its folder.
        adapters: PEFT folders with a manifest.
        serve: Its ``max_lora_rank`` bounds the ranks.

    Raises:
        AdapterError: There is none; one is damaged, was trained on other weights or under another chat template, or has
            too large a rank; or two have the same name.
    """
    if not adapters:
        raise AdapterError("no adapter to serve. Give at least one run folder or adapter folder.")
    personas = tuple(_persona(folder) for folder in adapters)
    served_hash, served_template = model_hash(base), template_hash(base)
    for folder, persona in zip(adapters, personas, strict=True):
        manifest = persona.manifest
        if manifest.base_model.hash != served_hash:
            raise AdapterError(
                f"{folder}: {manifest.persona} was trained on {manifest.base_model.name} (weights "
                f"{manifest.base_model.hash}), but this engine serves {base_name} (weights {served_hash}). "
                f"Serve it from a deployment of its own base, or train it again on {base_name}."
            )
        if manifest.template_hash != served_template:
            raise AdapterError(
                f"{folder}: {manifest.persona} was trained under chat template {manifest.template_hash}, but "
                f"{base_name} now has {served_template}, which would change the persona. Restore the template in "
                f"{base}, or train it again."
            )
        if manifest.rank > serve.max_lora_rank:
            remedy = (
                f"Raise serve.max_lora_rank to at least {manifest.rank}."
                if manifest.rank <= LARGEST_RANK
                else f"No engine holds more than {LARGEST_RANK}: recompress it (character-ray adapter combine --rank {LARGEST_RANK})."
            )
            raise AdapterError(
                f"{folder}: {manifest.persona} has rank {manifest.rank}, larger than "
                f"serve.max_lora_rank={serve.max_lora_rank}. {remedy}"
            )
    _check_names(adapters, personas)
    return personas


def _persona(folder: Path) -> Persona:
    manifest = load_manifest(folder)
    canary = load_canary(folder, manifest.weights_hash)
    yardstick = run_yardstick(folder.parent, manifest.weights_hash)
    ratings = run_ratings(folder.parent, manifest.weights_hash)
    return Persona(manifest, folder.resolve(), canary, yardstick, ratings=ratings)


def pinned_copy(persona: Persona) -> Path:
    """A copy of the adapter that nobody retrains in place, made once per machine.

    vLLM reads an adapter again whenever it was evicted, long after the folder was checked. The copy is addressed by the
    hash of its weights and checked after it was made.

    Raises:
        AdapterError: The folder no longer holds what it held when the deployment was built.
    """

    def build(folder: Path) -> None:
        for name in _FILES:
            try:
                shutil.copyfile(persona.folder / name, folder / name)
            except OSError as cause:
                raise AdapterError(
                    f"{persona.folder / name} cannot be read ({cause.strerror}). Restore it, then restart the server."
                ) from cause
        found = load_manifest(folder).weights_hash
        if found != persona.manifest.weights_hash:
            raise AdapterError(
                f"{persona.folder}: holds weights {found}, but the server was started for "
                f"{persona.manifest.weights_hash}. Restart the server to serve the new weights."
            )

    target = cache_folder() / "adapters" / persona.pinned
    build_once(target, build)
    return target


def _check_names(adapters: Sequence[Path], personas: Sequence[Persona]) -> None:
    first: dict[str, Path] = {}
    for folder, persona in zip(adapters, personas, strict=True):
        if persona.slug in first:
            raise AdapterError(
                f"{first[persona.slug]} and {folder} are both named {persona.slug}, so a client could not tell them "
                "apart. Serve one of them, or train one under another meta.name."
            )
        first[persona.slug] = folder
