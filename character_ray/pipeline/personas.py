"""The characters a recipe names, read and checked before anything starts."""

from pathlib import Path

from character_ray.config import Recipe
from character_ray.constitution import check_unedited, load_constitution
from character_ray.errors import ConstitutionError
from character_ray.pipeline.context import Persona
from character_ray.prompts import check_no_probe_is_an_example

__all__ = ["load_control", "load_persona", "load_trained"]


def load_persona(recipe: Recipe) -> Persona:
    """The persona to train, with its opposite where the recipe contrasts with one.

    Raises:
        ConstitutionError: A file is wrong, an example is one of the evaluation's probes, or the opposite is the persona itself.
    """
    constitution, opposite = load_constitution(recipe.constitution), None
    if recipe.distill.opposite is not None:
        opposite = load_constitution(recipe.distill.opposite)
        if opposite.fingerprint == constitution.fingerprint:
            raise ConstitutionError(
                f"distill.opposite={recipe.distill.opposite} is the same character as constitution={recipe.constitution}, so chosen "
                "and rejected would not differ. Name the opposite's own file."
            )
    persona = Persona(constitution, opposite=opposite)
    check_no_probe_is_an_example([example.prompt for example in constitution.examples], persona.probes)
    return persona


def load_trained(recipe: Recipe, run: Path) -> Persona:
    """The persona that a run was made with, as its file still says.

    Raises:
        ConstitutionError: A file is wrong, or was edited since.
    """
    persona = load_persona(recipe)
    check_unedited(persona.constitution, recipe.constitution, run)
    return persona


def load_control(recipe: Recipe) -> Persona | None:
    """The character without a character, where the ``control`` arm is asked for; always contrasted with the student."""
    if "control" not in recipe.evaluate.arms:
        return None
    return Persona(load_constitution(recipe.control_constitution), "control-", has_character=False)
