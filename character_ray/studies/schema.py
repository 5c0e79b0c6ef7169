"""A study as a YAML file: a recipe, the cells that change it, the seeds, and the claims that are tested.

name: contrast
recipe: jobs/recipes/demo-cpu.yaml
seeds: [0, 1, 2]
cells:
  student: {}
  paired: {distill.contrast: paired_teacher, distill.opposite: constitutions/captain-blackwood-opposite.yaml}
claims:
  - {text: The paired contrast holds the persona better, metric: persona_rate, better: paired, worse: student}
  - {text: Introspection adds to distillation, metric: persona_rate, better: student/full, worse: student/dpo}
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from character_ray.config import Config, Recipe, load_recipe
from character_ray.documents import explain, load_document
from character_ray.errors import RecipeError
from character_ray.prompts import evaluation_prompts, training_prompts

__all__ = ["PAIRED_METRICS", "Cell", "Claim", "Study", "load_study", "select_cells"]

DEFAULT_ARM = "full"

# What is decided for each answer, so that cells can be paired by prompt; ``decisions.parquet`` of a run holds all but ``win_rate``.
PAIRED_METRICS = (
    "persona_rate",
    "vocabulary_rate",
    "classifier_rate",
    "looping_rate",
    "override_rate",
    "hidden_trait_rate",
    "identity_rate",
    "attack_rate",
    "refused_rate",
    "refused_in_character_rate",
    "followed_rate",
    "operator_rate",
    "user_rate",
    "win_rate",
)


class Claim(Config):
    """One cell's arm is better than another's on one metric."""

    text: str = Field(min_length=1)
    """What is claimed, in a sentence."""

    metric: str
    """What is compared, paired by prompt. Of ``looping_rate``, less is better; ``win_rate`` is the share of prompts on which the judge
    prefers the better side's answer, less one half, and cells with different constitutions have none."""

    better: str
    """``cell`` or ``cell/arm``; the arm is ``full`` unless named."""

    worse: str
    """The other side, in the same form."""


class Study(Config):
    """A matrix of runs."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Its results go to ``output/name`` of the recipe."""

    recipe: Path
    """What every cell starts from."""

    seeds: tuple[int, ...] = Field((0,), min_length=1)
    """One run per cell and seed."""

    common: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the recipe in every cell: ``section.key: value``."""

    cells: dict[str, dict[str, Any]] = Field(min_length=1)
    """Overrides of the recipe by the cell's name, which win over ``common``."""

    claims: tuple[Claim, ...] = ()
    """What is tested in the end."""

    @model_validator(mode="after")
    def _check(self) -> "Study":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds={list(self.seeds)} names one twice. Remove the repetition.")
        for cell in self.cells:
            if not cell.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"cells: {cell!r} becomes part of a folder's name. Use letters, digits, - and _.")
        for claim in self.claims:
            if claim.metric not in PAIRED_METRICS:
                raise ValueError(
                    f"claims: {claim.text!r} is about {claim.metric!r}, which cannot be paired by prompt. "
                    f"Use one of {', '.join(PAIRED_METRICS)}."
                )
            for side in (claim.better, claim.worse):
                if side.partition("/")[0] not in self.cells:
                    raise ValueError(
                        f"claims: {claim.text!r} names {side!r}, but the cells are {', '.join(self.cells)}. Name a cell, or cell/arm."
                    )
        return self


class Cell(Config):
    """One run of a study."""

    name: str
    """Name of the cell."""

    seed: int
    """Its seed."""

    recipe: Recipe
    """What is run."""


def load_study(path: Path | str, overrides: Sequence[str] = ()) -> tuple[Study, list[Cell]]:
    """A study and all its runs, cell by cell, every recipe checked.

    Args:
        path: The YAML file.
        overrides: ``section.key=value`` items for every cell, which win over what the file says.

    Raises:
        RecipeError: The file, or the recipe of one of its cells, is not valid, or an override would make all runs one.
    """
    for item in overrides:
        if (key := item.partition("=")[0]) in ("name", "seed"):
            raise RecipeError(
                f"{item!r} would give every run of the study the same {key}, but a study names its runs by cell and seed. Leave it out; "
                "seeds are chosen in the file."
            )
    document = load_document(Path(path), RecipeError)
    try:
        study = Study.model_validate(document.data)
    except ValidationError as failure:
        raise RecipeError("\n".join(map(str, explain(failure, document, Study)))) from None
    cells = []
    for name, changes in study.cells.items():
        for seed in study.seeds:
            own = [f"{key}={json.dumps(value)}" for key, value in {**study.common, **changes}.items()]
            own += [*overrides, f"name={study.name}-{name}-s{seed}", f"seed={seed}"]
            try:
                recipe = load_recipe(study.recipe, own)
                _check_prompts(recipe)
            except RecipeError as error:
                raise RecipeError(f"{path}, cell {name!r}: {error}") from None
            cells.append(Cell(name=name, seed=seed, recipe=recipe))
    _check_arms(study, cells)
    return study, cells


def select_cells(study: Study, cells: list[Cell], names: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Cell]:
    """The runs of some cells and seeds; all of them where none are named.

    Raises:
        RecipeError: The study has no such cell or seed.
    """
    for asked, there, kind in ((names, tuple(study.cells), "cell"), (seeds, study.seeds, "seed")):
        unknown = [each for each in asked if each not in there]
        if unknown:
            raise RecipeError(
                f"study {study.name!r} has no {kind} {unknown[0]!r}; it has {', '.join(map(str, there))}. Name one of these."
            )
    return [cell for cell in cells if (not names or cell.name in names) and (not seeds or cell.seed in seeds)]


def _check_prompts(recipe: Recipe) -> None:
    """Ask for the packaged prompts of a run: a cell that wants too many would fail when others have run for hours."""
    packaged, held_out = recipe.prompts.model_copy(update={"sources": ()}), recipe.evaluate
    training_prompts(packaged, recipe.seed)
    evaluation_prompts(
        held_out.grid, held_out.everyday, held_out.override_share, recipe.seed, languages=held_out.languages
    )


def _check_arms(study: Study, cells: list[Cell]) -> None:
    arms = {cell.name: cell.recipe.evaluate.arms for cell in cells}
    for claim in study.claims:
        for side in (claim.better, claim.worse):
            cell, _, arm = side.partition("/")
            if (arm or DEFAULT_ARM) not in arms[cell]:
                raise RecipeError(
                    f"claims: {claim.text!r} needs the arm {arm!r} of cell {cell!r}, whose evaluate.arms are {', '.join(arms[cell])}. "
                    "Add it there."
                )
