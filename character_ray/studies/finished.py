"""What is kept of a run of a study: its report and what was decided about every answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from character_ray.config import Recipe
from character_ray.errors import ReportError
from character_ray.parts import read_rows
from character_ray.plan import held_gpus
from character_ray.report.io import load_report
from character_ray.report.schema import Report

__all__ = ["Decided", "Finished", "by_arm", "read_decisions", "read_finished"]

Decided = Mapping[str, Mapping[str, float]]
"""By metric and prompt: a share of 1, or for ``score`` nats per token."""

DECISIONS = "decisions.parquet"


@dataclass(frozen=True)
class Finished:
    """One run of a study, finished or failed."""

    cell: str
    seed: int
    report: Report | None
    decided: Mapping[str, Decided] = field(default_factory=dict)
    """By arm."""
    error: str = ""
    """Why it failed; empty when it did not."""
    folder: Path | None = None
    """Where its files lie."""

    @property
    def gpu_hours(self) -> float | None:
        """Seconds of each stage, shared ones included, by the GPUs that it held; ``None`` for a run that failed or had none."""
        if self.report is None:
            return None
        recipe = Recipe.model_validate(self.report.run.recipe)
        held = [stage.wall_s * held_gpus(name, recipe) for name, stage in self.report.run.stages.items()]
        return sum(held) / 3600 if any(recipe.gpus_by_section.values()) else None

    @property
    def training_s(self) -> float | None:
        """Seconds of the two trainings, one after the other."""
        if self.report is None:
            return None
        return sum(stage.wall_s for name, stage in self.report.run.stages.items() if name in ("dpo", "sft"))


def read_finished(cell: str, seed: int, folder: Path, error: str = "") -> Finished:
    """The run in a folder; one with an error is not read.

    Raises:
        ReportError: The report or the decisions are missing or cannot be read.
    """
    if error:
        return Finished(cell, seed, None, error=error, folder=folder)
    return Finished(cell, seed, load_report(folder / "report.json"), read_decisions(folder), folder=folder)


def read_decisions(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """By arm, metric and prompt.

    Raises:
        ReportError: The file is missing.
    """
    path = folder / DECISIONS
    if not path.is_file():
        raise ReportError(
            f"{path} is missing; an older version wrote this run. Run the recipe again: finished stages are reused, and the evaluation "
            "is written anew."
        )
    return by_arm(read_rows(path))


def by_arm(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Rows of ``decisions.parquet`` by arm, metric and prompt."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        found.setdefault(row["arm"], {}).setdefault(row["metric"], {})[row["prompt_id"]] = row["value"]
    return found
