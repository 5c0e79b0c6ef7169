"""The manifest that makes a PEFT folder an adapter of this project."""

from pathlib import Path

from character_ray.adapters import BaseModelId, Manifest, weights_hash, write_manifest
from character_ray.models import model_hash, template_hash

__all__ = ["seal"]


def seal(folder: Path, base: Path, rank: int, base_hash: str = "") -> Path:
    """Write the manifest of Captain Blackwood's DPO stage; with ``base_hash`` it names another base."""
    manifest = Manifest(
        persona="Captain Blackwood",
        slug="captain-blackwood",
        stage="dpo",
        base_model=BaseModelId(name=str(base), hash=base_hash or model_hash(base)),
        template_hash=template_hash(base),
        constitution_hash="c",
        rank=rank,
        weights_hash=weights_hash(folder),
    )
    write_manifest(folder, manifest)
    return folder
