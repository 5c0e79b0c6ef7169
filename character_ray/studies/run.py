"""Run a study, or a part of it, and write what came of it.

Runs share the store, so what two cells have in common is made once, also by runs side by side; a study that was stopped continues,
and a cell that fails, for whatever reason, does not stop the others.
"""

import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from character_ray.errors import CharacterRayError, ReportError
from character_ray.log import console
from character_ray.pipeline import run_pipeline
from character_ray.pipeline.ray_session import check_side_by_side
from character_ray.runs import write_json
from character_ray.side_by_side import Work, do_all, error_of
from character_ray.studies.definition import check_definition
from character_ray.studies.figures import CLAIMS, MEASURED, draw_claims, draw_measured
from character_ray.studies.finished import DECISIONS, Finished, read_finished
from character_ray.studies.pack import write_pack
from character_ray.studies.page import study_page, study_record
from character_ray.studies.schema import Cell, Study
from character_ray.studies.verdict import judge_claim
from character_ray.training.packages import check_packages
from character_ray.whole_files import write_text

__all__ = ["check_all_finished", "collect", "run_cells", "write_results"]


def run_cells(study: Study, cells: Sequence[Cell], side_by_side: int = 1) -> list[Finished]:
    """Run what is not done; returns every run, finished or failed.

    Args:
        study: What is asked.
        cells: The runs, all of the study or some.
        side_by_side: Runs at once, each a process of its own whose output goes to ``log.txt`` in the run's folder. Outside a Ray
            cluster each starts a Ray of its own, on its part of the machine's GPUs; engines of those on one GPU must fit together.

    Raises:
        CharacterRayError: A cell's trackers or kernels are not installed, every run failed, or runs on one cluster would wait for the
            GPUs that others keep.
    """
    for cell in cells:
        check_packages(cell.recipe.train)
    if "RAY_ADDRESS" in os.environ:  # all on one Ray, where none may wait for what another keeps
        for cell in cells:
            check_side_by_side(cell.recipe, side_by_side)
    errors = (
        _one_by_one(cells)
        if side_by_side == 1
        else do_all([_work(cell) for cell in cells], side_by_side, _places(cells, side_by_side))
    )
    if all(errors):
        raise CharacterRayError(f"every run of study {study.name!r} failed; the first: {errors[0]}")
    return [
        read_finished(cell.name, cell.seed, cell.recipe.folder, error)
        for cell, error in zip(cells, errors, strict=True)
    ]


def check_all_finished(runs: Sequence[Finished]) -> None:
    """Refuse to end well when a run did not.

    Raises:
        CharacterRayError: A run failed.
    """
    failed = [run for run in runs if run.error]
    if failed:
        first = f"{failed[0].cell}, seed {failed[0].seed}: {failed[0].error}"
        raise CharacterRayError(
            f"{len(failed)} of {len(runs)} runs failed, and the results are of the others; the first: {first}. "
            "Run the same command again to continue: what is finished is reused."
        )


def collect(cells: Sequence[Cell]) -> list[Finished]:
    """The runs that have finished already; nothing is run.

    Raises:
        ReportError: A run was made by an older definition of its cell, or cannot be read.
    """
    found = []
    for cell in cells:
        folder = cell.recipe.folder
        if all((folder / name).is_file() for name in ("report.json", DECISIONS)):
            run = read_finished(cell.name, cell.seed, folder)
            if run.report is not None:
                check_definition(str(folder), run.report, cell.recipe)
            found.append(run)
    return found


def write_results(study: Study, runs: Sequence[Finished], folder: Path, pack: Path | None = None) -> None:
    """Judge the claims; write ``study.json``, ``study.md`` with its pictures and, where asked, a pack.

    Raises:
        ReportError: No run has finished.
    """
    if not any(run.report for run in runs):
        raise ReportError(
            f"no run of study {study.name!r} has finished, so there is nothing to write. Run some of its cells first."
        )
    verdicts = [judge_claim(claim, runs) for claim in study.claims]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "study.json", study_record(study, runs, verdicts))
    text = study_page(study, runs, verdicts)
    write_text(folder / "study.md", text)
    draw_measured(study, runs, folder / MEASURED)
    draw_claims(verdicts, folder / CLAIMS)
    console.print(text, markup=False)
    console.print(f"[green]{folder / 'study.md'}[/]")
    if pack is not None:
        write_pack(pack, study, runs, (folder / "study.json", folder / "study.md"))
        console.print(f"[green]{pack}[/]")


def _places(cells: Sequence[Cell], side_by_side: int) -> list[dict[str, str]]:
    """The machine's GPUs shared out among runs side by side, as variables of each; empty where there is nothing to share out.

    Every Ray gives out the first GPU that it sees first. Runs that need more GPUs than a part has see all of them.
    """
    needed = max(math.ceil(max(cell.recipe.gpus_by_section.values()) - 1e-9) for cell in cells)
    gpus = [] if "RAY_ADDRESS" in os.environ or not needed else _visible_gpus()
    each = max(len(gpus) // side_by_side, 1)
    if len(gpus) < 2 or needed > each:
        return []
    parts = [",".join(gpus[start : start + each]) for start in range(0, len(gpus) - each + 1, each)]
    return [{"CUDA_VISIBLE_DEVICES": parts[number % len(parts)]} for number in range(side_by_side)]


def _visible_gpus() -> list[str]:
    """As ``CUDA_VISIBLE_DEVICES`` names them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [each.strip() for each in named.split(",") if each.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _one_by_one(cells: Sequence[Cell]) -> list[str]:
    errors = []
    for number, cell in enumerate(cells, start=1):
        work = _work(cell)
        console.rule(f"{number} of {len(cells)}: {work.label}")
        errors.append(error_of(work.task))
        if errors[-1]:
            console.print(errors[-1], style="red", markup=False)
    return errors


def _work(cell: Cell) -> Work:
    return Work(f"{cell.name}, seed {cell.seed}", cell.recipe.folder, partial(run_pipeline, cell.recipe))
