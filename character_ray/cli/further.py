"""``character-ray drift``, ``tax`` and ``preferences``: more measurements of a finished run, each with a page of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from character_ray.log import console

__all__ = ["drift", "preferences", "tax"]

RunFolder = Annotated[Path, typer.Argument(help="Folder of a finished run, such as runs/demo.")]


def drift(run: RunFolder) -> None:
    """Measure how far every arm is from the untrained weights, per token of what it says."""
    from character_ray.pipeline.drift import drift_run, drift_sheet

    _say(drift_sheet(drift_run(run)).lead, run, "drift")


def tax(run: RunFolder) -> None:
    """Measure what every arm can still do: arithmetic, formats and choices, checked to the letter."""
    from character_ray.pipeline.tax import tax_run, tax_sheet

    _say(tax_sheet(tax_run(run)).lead, run, "tax")


def preferences(run: RunFolder) -> None:
    """Measure which of 144 traits every arm would rather show."""
    from character_ray.pipeline.preferences import preferences_run, preferences_sheet

    _say(preferences_sheet(preferences_run(run)).lead, run, "preferences")


def _say(sentences: Sequence[str], run: Path, name: str) -> None:
    for sentence in sentences:
        console.print(sentence)
    console.print(f"{run / name}.html · {run / name}.json")
