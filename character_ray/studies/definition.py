"""Whether a finished run is of the recipe that its cell has now: its report holds the recipe it was made with.

Only settings that decide results are compared: those that the keys of stages in the store are made of, and those that the report is
computed with. The same cell may run on other machines, with other memory, and into another folder.
"""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic_core import PydanticUndefined, to_jsonable_python

from character_ray.config import Config, Recipe
from character_ray.config.engines import OF_MEMORY
from character_ray.constitution import load_constitution
from character_ray.errors import ReportError
from character_ray.report.schema import Report
from character_ray.runs import describe_changes

__all__ = ["check_definition", "definition_changes"]

# Of these sections only these settings decide anything; the others say where, on how much, and how fast.
DECIDING = {
    "student_engine": ("dtype", "vllm", "adapters"),
    "teacher_engine": ("dtype", "vllm"),
    "teacher_endpoint": ("extra_body",),
    "judge": ("dtype", "tie_margin"),
    "train": ("precision", "workers", "zero_stage", "deepspeed", "trainer", "model"),
}
# Of the others all but these do. A constitution counts by what it says and not by where it lies; what `further` names has pages of its
# own, which no study reads.
INDIFFERENT = {
    "": ("name", "output", "mirror", "serve", "plan", "constitution"),
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
    """
    now = recipe.model_dump(mode="json")
    return describe_changes(_deciding(_filled(recorded, Recipe)), _deciding(now))


def _deciding(recipe: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in recipe.items() if key not in INDIFFERENT[""]}
    for section, keys in INDIFFERENT.items():
        if section:
            found[section] = {key: value for key, value in found[section].items() if key not in keys}
    for section, keys in DECIDING.items():
        if found[section] is not None:
            found[section] = {key: found[section].get(key) for key in keys}
    for section in ("student_engine", "teacher_engine"):
        if found[section] is not None:
            further = found[section]["vllm"] or {}
            found[section]["vllm"] = {key: value for key, value in further.items() if key not in OF_MEMORY}
    if found["teacher_engine"] is None and found["teacher_endpoint"] is None:  # it answers on the student's
        found["teacher_engine"] = {key: found["student_engine"][key] for key in DECIDING["teacher_engine"]}
    return found


def _filled(recorded: Mapping[str, Any], kind: type[Config]) -> dict[str, Any]:
    """The recorded settings, and the defaults of those that came later."""
    found = dict(recorded)
    for name, field in kind.model_fields.items():
        section = next((each for each in (field.annotation, *get_args(field.annotation)) if _is_section(each)), None)
        if name not in found:
            default = field.get_default(call_default_factory=True, validated_data={})
            if default is not PydanticUndefined:
                found[name] = to_jsonable_python(default)
        elif section is not None and isinstance(found[name], Mapping):
            found[name] = _filled(found[name], section)
        elif section is not None and isinstance(found[name], list):
            found[name] = [_filled(each, section) for each in found[name]]
    return found


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Config)
