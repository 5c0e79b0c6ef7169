"""What a recipe asks to be measured beyond the report, each with files and a page of its own in the run's folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from character_ray.config import Recipe
from character_ray.log import console
from character_ray.pipeline.drift import drift_run
from character_ray.pipeline.preferences import preferences_run
from character_ray.pipeline.probe import probe_run
from character_ray.pipeline.tax import tax_run

__all__ = ["FURTHER", "measure_further"]

FURTHER: dict[str, Callable[[Path], Any]] = {
    "probes": probe_run,
    "drift": drift_run,
    "tax": tax_run,
    "preferences": preferences_run,
}


def measure_further(recipe: Recipe, folder: Path) -> None:
    """Measure what ``evaluate.further`` names, on the finished run; inside its Ray session."""
    for name in recipe.evaluate.further:
        FURTHER[name](folder)
        console.print(f"[green]{name}[/]: {folder / name}.html")
