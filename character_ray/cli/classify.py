"""``character-ray classify``: one classifier over the personas of several runs."""

from pathlib import Path
from typing import Annotated

import typer

from character_ray.log import console

__all__ = ["classify"]


def classify(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs, one persona each.")],
    output: Annotated[Path, typer.Option(help="Folder for classes.json and classes.html.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
) -> None:
    """Train and measure a classifier that says which persona wrote a text, or none."""
    from character_ray.pipeline.classify import classes_sheet, classify_runs

    for sentence in classes_sheet(classify_runs(runs, output, seed)).lead:
        console.print(sentence)
    console.print(f"{output / 'classes.html'} · {output / 'classes.json'}")
