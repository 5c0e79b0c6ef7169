"""The adapter an on-policy round starts from."""

from pathlib import Path

from character_ray.adapters import Manifest, load_manifest
from character_ray.config import Recipe
from character_ray.errors import RecipeError
from character_ray.training.algebra import plain_config

__all__ = ["check_parent"]


def check_parent(recipe: Recipe, base_hash: str) -> Manifest | None:
    """The manifest of ``distill.parent`` once it is sure that training can go on from it; ``None`` when there is none.

    Raises:
        AdapterError: The folder is no adapter, or is damaged.
        RecipeError: It belongs to another base model, or has another shape than ``dpo.lora`` asks for.
    """
    folder: Path | None = recipe.distill.parent
    if folder is None:
        return None
    manifest = load_manifest(folder)
    if manifest.base_model.hash != base_hash:
        raise RecipeError(
            f"distill.parent={folder} was trained on {manifest.base_model.name} (hash {manifest.base_model.hash}), but "
            f"student.name={recipe.student.name} has hash {base_hash}. Name an adapter of this student."
        )
    config, lora = plain_config(folder), recipe.dpo.lora
    found = {"rank": config["r"], "alpha": config["lora_alpha"], "target_modules": sorted(config["target_modules"])}
    wanted = {"rank": lora.rank, "alpha": lora.alpha, "target_modules": sorted(lora.target_modules)}
    differing = [f"{key} {found[key]} instead of {wanted[key]}" for key in found if found[key] != wanted[key]]
    if differing:
        raise RecipeError(
            f"distill.parent={folder} has {', '.join(differing)} of dpo.lora, but on-policy training goes on with the parent's own "
            "factors. Set dpo.lora to the parent's, or name another parent."
        )
    return manifest
