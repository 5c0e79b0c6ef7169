"""Whether a finished run is of the recipe that its cell has now: its report holds the recipe it was made with.

Only settings that decide results are compared: those that the keys of stages in the store are made of, and those that the report is
computed with. The same cell may run on other machines, with other memory, and into another folder.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from character_ray.config import Recipe
from character_ray.constitution import load_constitution
from character_ray.errors import ReportError
from character_ray.report.schema import Report
from character_ray.runs import describe_changes

__all__ = ["check_definition", "definition_changes"]

# Settings that say where, on how much and how fast. A constitution counts by what it says and not by where it lies; what `further` names
# has pages of its own, which no study reads. Of engines, judges and training only what is named below decides anything.
INDIFFERENT: Mapping[str, tuple[str, ...]] = {
    "": (
        *("name", "output", "mirror", "serve", "plan", "constitution"),
        *("student_engine", "teacher_engine", "teacher_endpoint", "judge", "train"),
    ),
    "distill": ("max_dropped_share",),
    "introspect": ("max_dropped_share",),
    "dpo": ("gradient_checkpointing", "share_prompts"),
    "sft": ("gradient_checkpointing",),
    "evaluate": ("further", "tax", "preferences"),
}
MOST_SHOWN = 4


def check_definition(run: str, report: Report, recipe: Recipe) -> None:
    """Refuse a run that was made with another recipe or another constitution.

    Args:
        run: What the message calls it.
        report: Its report.
        recipe: What its cell asks for now.

    Raises:
        ReportError: A setting that decides results differs.
        ConstitutionError: The cell's constitution is not valid.
    """
    changes = definition_changes(report.run.recipe, recipe)
    if report.constitution.hash != load_constitution(recipe.constitution).fingerprint:
        changes.append(f"{recipe.constitution} says something else now")
    if changes:
        more = f"; and {len(changes) - MOST_SHOWN} more" if len(changes) > MOST_SHOWN else ""
        raise ReportError(
            f"{run} was made by an older definition of its cell: {'; '.join(changes[:MOST_SHOWN])}{more}. Its results are not what the "
            "study asks for now. Run the cell again, or restore the study and its recipe."
        )


def definition_changes(recorded: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """``dpo.lora.rank was 8, is 16`` for every setting that decides results and differs.

    A setting that the recorded recipe does not have was added since, and stood at its default then.

    Raises:
        ReportError: This version cannot read the recorded recipe.
    """
    try:
        then = Recipe.model_validate(recorded)
    except ValidationError as failure:
        error = failure.errors()[0]
        where = ".".join(map(str, error["loc"]))
        raise ReportError(
            f"this version cannot read the recipe of a run ({where}: {error['msg']}). Read it with the version that made it."
        ) from None
    return describe_changes(_deciding(then), _deciding(recipe))


def _deciding(recipe: Recipe) -> dict[str, Any]:
    found = recipe.model_dump(mode="json", exclude=set(INDIFFERENT[""]))
    for section, keys in INDIFFERENT.items():
        if section:
            found[section] = {key: value for key, value in found[section].items() if key not in keys}
    return found | {
        "student_engine": {"numerics": recipe.student_engine.numerics, "adapters": recipe.student_engine.adapters},
        "teacher_engine": recipe.teacher_numerics,
        "teacher_endpoint": recipe.teacher_endpoint.asked_beside if recipe.teacher_endpoint else {},
        "judge": {"dtype": recipe.judge.dtype, "tie_margin": recipe.judge.tie_margin},
        "train": recipe.train.numerics(recipe.dpo.micro_batches, recipe.sft.micro_batches),
    }
