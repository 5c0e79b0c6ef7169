"""The runs of a study, one after the other or side by side."""

import os
import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from character_ray.config import Recipe
from character_ray.errors import CharacterRayError
from character_ray.log import console
from character_ray.pipeline import run_pipeline
from character_ray.studies.schema import Cell

__all__ = ["run_all"]


def run_all(cells: Sequence[Cell], side_by_side: int) -> list[str]:
    """Run every cell; returns the error of each, empty where there was none.

    Args:
        cells: What to run.
        side_by_side: How many at once; above 1 each is a process that writes to ``log.txt`` in its run's folder.
    """
    if side_by_side == 1:
        return [_announced(number, len(cells), cell) for number, cell in enumerate(cells, start=1)]
    # A fresh process each: Ray and CUDA hold on to theirs.
    with ProcessPoolExecutor(side_by_side, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        started = [pool.submit(_apart, cell.recipe) for cell in cells]
        errors = []
        for number, (cell, future) in enumerate(zip(cells, started, strict=True), start=1):
            error = str(future.exception() or future.result())
            errors.append(error)
            log = cell.recipe.folder / "log.txt"
            console.print(
                f"{number} of {len(cells)}: {cell.name}, seed {cell.seed}: {error or 'done'} ({log})", markup=False
            )
    return errors


def _announced(number: int, count: int, cell: Cell) -> str:
    console.rule(f"{number} of {count}: {cell.name}, seed {cell.seed}")
    error = _run(cell.recipe)
    if error:
        console.print(f"[red]{error}[/]")
    return error


def _apart(recipe: Recipe) -> str:
    recipe.folder.mkdir(parents=True, exist_ok=True)
    with (recipe.folder / "log.txt").open("a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
        try:
            return _run(recipe)
        except Exception as error:  # one broken run must not end the others
            traceback.print_exc()
            return f"{type(error).__name__}: {error}"


def _run(recipe: Recipe) -> str:
    try:
        run_pipeline(recipe)
    except CharacterRayError as error:
        return f"{type(error).__name__}: {error}"
    return ""
