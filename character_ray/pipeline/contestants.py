"""Who takes part in a tournament, and with which answers."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from character_ray.config import Recipe, Tournament
from character_ray.constitution import Constitution, load_constitution
from character_ray.errors import ReportError
from character_ray.parts import read_rows
from character_ray.stages.tournament import Entry

__all__ = ["Lineup", "load_lineup", "recipe_of"]

FEWEST_PROMPTS = 8


@dataclass(frozen=True)
class Lineup:
    """All contestants, and the prompts that every one of them answered, in the order they are asked."""

    labels: list[str]
    runs: list[Path]
    arms: list[str]
    recipes: list[Recipe]
    prompts: list[str]
    """Ids, shuffled by the tournament's seed."""
    entries: dict[tuple[int, int], Entry]
    """By number of prompt and contestant."""
    left_out: int
    """Prompts that some contestants answered and others did not, or failed on."""
    constitution: Constitution
    audit_run: Path
    """Run of that character whose teacher and base completions are the known pairs."""


def load_lineup(tournament: Tournament) -> Lineup:
    """Read the contestants' answers.

    Raises:
        ReportError: A run or an arm is missing, the runs are of different personas and none is named, or too few prompts are shared.
        ConstitutionError: A constitution cannot be read.
    """
    labels, runs, arms, recipes, answers = [], [], [], [], []
    several = len({each.run for each in tournament.contestants}) > 1
    for each in tournament.contestants:
        recipe, by_arm = recipe_of(each.run), _answers_by_arm(each.run)
        for arm in each.arms:
            if arm not in by_arm:
                raise ReportError(
                    f"contestants: {each.run} has no arm {arm!r}; it has {', '.join(sorted(by_arm))}. Name one of these, or run its "
                    f"recipe again with {arm!r} in evaluate.arms."
                )
            labels.append(f"{each.run.name}/{arm}" if several else arm)
            runs.append(each.run)
            arms.append(arm)
            recipes.append(recipe)
            answers.append(by_arm[arm])
    if len(set(labels)) != len(labels):
        raise ReportError(
            f"contestants: {', '.join(labels)} could not be told apart, because run folders have the same name. Rename one."
        )
    shared = sorted(set.intersection(*(set(each) for each in answers)))
    if len(shared) < FEWEST_PROMPTS:
        raise ReportError(
            f"the contestants share {len(shared)} prompts, fewer than {FEWEST_PROMPTS}: battles are fought over the same prompt. "
            "Let runs with the same evaluate section and seed meet."
        )
    every = set.union(*(set(each) for each in answers))
    prompts = random.Random(tournament.seed).sample(shared, len(shared))[: tournament.prompts]
    entries = {
        (number, player): Entry(player=player, prompt_id=prompt, prompt=own[prompt][0], completion=own[prompt][1])
        for number, prompt in enumerate(prompts)
        for player, own in enumerate(answers)
    }
    own = [load_constitution(recipe.constitution) for recipe in recipes]
    judged = _judged(tournament, own, labels)
    audit_run = tournament.audit_run or next(
        (run for run, each in zip(runs, own, strict=True) if each.fingerprint == judged.fingerprint), None
    )
    if audit_run is None:
        raise ReportError(
            f"no contestant's run is of {judged.meta.name} ({tournament.constitution}), so there are no known pairs to audit judges on. "
            "Set audit_run to a run of that character."
        )
    return Lineup(labels, runs, arms, recipes, prompts, entries, len(every) - len(shared), judged, audit_run)


def recipe_of(run: Path) -> Recipe:
    """The recipe that a run was made by.

    Raises:
        ReportError: The folder is no run, or was made by a version with other recipes.
    """
    record = run / "run.json"
    if not record.is_file():
        raise ReportError(f"{run} is no run: it has no run.json. Give the folder of a run, such as runs/demo.")
    try:
        return Recipe.model_validate(json.loads(record.read_text(encoding="utf-8"))["recipe"])
    except (ValidationError, KeyError, json.JSONDecodeError) as cause:
        raise ReportError(
            f"{record} holds no recipe that this version reads ({cause}). Run its recipe again."
        ) from None


def _answers_by_arm(run: Path) -> dict[str, dict[str, tuple[str, str]]]:
    path = run / "answers.parquet"
    if not path.is_file():
        raise ReportError(f"{run} has no answers.parquet: the run was not finished. Run its recipe again to finish it.")
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for row in read_rows(path):
        own = found.setdefault(row["arm"], {})
        if row["source"] != "probe" and row["sample"] == 0 and not row["error"] and row["completion"].strip():
            own[row["prompt_id"]] = (row["prompt"], row["completion"])
    return found


def _judged(tournament: Tournament, own: Sequence[Constitution], labels: Sequence[str]) -> Constitution:
    if tournament.constitution is not None:
        return load_constitution(tournament.constitution)
    if len({each.fingerprint for each in own}) > 1:
        named = ", ".join(f"{label}: {each.meta.name}" for label, each in zip(labels, own, strict=True))
        raise ReportError(
            f"the contestants are of different personas ({named}), and a judge can only say who is more in one character. "
            "Set constitution to that character's file."
        )
    return own[0]
