"""Run a study: every cell and seed, and the table at the end.

Runs share the store, so what two cells have in common is made once, also by runs side by side; a study that was stopped continues,
and a cell that fails does not stop the others.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from character_ray.comparison import decide_answers
from character_ray.errors import CharacterRayError
from character_ray.log import console
from character_ray.pipeline import run_pipeline
from character_ray.report import wording
from character_ray.report.io import load_report, write_text
from character_ray.report.schema import Report
from character_ray.runs import write_json
from character_ray.side_by_side import Work, do_all, error_of
from character_ray.studies.schema import Cell, Study
from character_ray.studies.verdict import Verdict, judge_claim

__all__ = ["run_study"]


@dataclass(frozen=True)
class _Finished:
    cell: Cell
    report: Report | None
    error: str


def run_study(study: Study, cells: Sequence[Cell], side_by_side: int = 1) -> Path:
    """Run what is not done and write ``study.json`` and ``study.md``; returns their folder.

    Args:
        study: What is asked.
        cells: Its runs.
        side_by_side: Runs at once, each a process of its own whose output goes to ``log.txt`` in the run's folder. Outside a Ray
            cluster each starts a Ray that sees every GPU of the machine, so their engines must fit together.

    Raises:
        CharacterRayError: Every cell failed.
    """
    errors = _one_by_one(cells) if side_by_side == 1 else do_all([_work(cell) for cell in cells], side_by_side)
    finished = [
        _Finished(cell, None if error else load_report(cell.recipe.folder / "report.json"), error)
        for cell, error in zip(cells, errors, strict=True)
    ]
    if all(errors):
        raise CharacterRayError(f"every run of study {study.name!r} failed; the first: {errors[0]}")
    decided = {
        (each.cell.name, arm, each.cell.seed): decide_answers(each.cell.recipe.folder, each.report, arm)
        for each in finished
        if each.report
        for arm in each.report.arms
    }
    verdicts = [judge_claim(claim, decided) for claim in study.claims]
    folder = cells[0].recipe.output / study.name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "study.json", _record(study, finished, verdicts))
    text = _page(study, finished, verdicts)
    write_text(folder / "study.md", text)
    console.print(text, markup=False)
    console.print(f"[green]{folder / 'study.md'}[/]")
    return folder


def _one_by_one(cells: Sequence[Cell]) -> list[str]:
    errors = []
    for number, cell in enumerate(cells, start=1):
        work = _work(cell)
        console.rule(f"{number} of {len(cells)}: {work.label}")
        errors.append(error_of(work.task))
        if errors[-1]:
            console.print(f"[red]{errors[-1]}[/]")
    return errors


def _work(cell: Cell) -> Work:
    return Work(f"{cell.name}, seed {cell.seed}", cell.recipe.folder, partial(run_pipeline, cell.recipe))


def _record(study: Study, finished: Sequence[_Finished], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {
        "study": study.model_dump(mode="json"),
        "runs": [
            {
                "cell": each.cell.name,
                "seed": each.cell.seed,
                "folder": str(each.cell.recipe.folder),
                "error": each.error,
                "arms": {arm: {name: m.model_dump() for name, m in ms.items()} for arm, ms in each.report.arms.items()}
                if each.report
                else {},
                "wall_s": each.report.run.wall_s if each.report else None,
                "versions": each.report.run.versions if each.report else {},
                "hardware": each.report.run.hardware if each.report else {},
            }
            for each in finished
        ],
        "claims": [
            {
                "text": verdict.claim.text,
                "outcome": verdict.outcome,
                "difference": vars(verdict.difference) if verdict.difference else None,
            }
            for verdict in verdicts
        ],
    }


def _page(study: Study, finished: Sequence[_Finished], verdicts: Sequence[Verdict]) -> str:
    seeds = len(study.seeds)
    lines = [
        f"# Study {study.name}",
        "",
        f"Recipe `{study.recipe}`; cells: {len(study.cells)}; seeds: {', '.join(map(str, study.seeds))}."
        + (
            f" Means over {seeds} seeds, smallest and largest in brackets."
            if seeds > 1
            else " 95 % intervals in brackets."
        ),
        "",
        "| cell | arm | " + " | ".join(wording.label(name) for name in wording.HEADLINE) + " |",
        "| --- | --- |" + " --- |" * len(wording.HEADLINE),
    ]
    for cell in study.cells:
        reports = [each.report for each in finished if each.cell.name == cell and each.report]
        for arm in reports[0].arms if reports else ():
            cells = " | ".join(
                _over_seeds(name, [report for report in reports if arm in report.arms], arm)
                for name in wording.HEADLINE
            )
            lines.append(f"| {cell} | {arm} | {cells} |")
    lines += [f"\n{each.cell.name}, seed {each.cell.seed} failed: {each.error}" for each in finished if each.error]
    if verdicts:
        lines += ["", "| claim | outcome | difference, paired by prompt |", "| --- | --- | --- |"]
    for verdict in verdicts:
        found = verdict.difference
        shown = (
            f"{wording.difference(verdict.claim.metric, found.value)} "
            f"{wording.shift_interval(verdict.claim.metric, found.low, found.high)}, {found.n} prompts"
            if found
            else "-"
        )
        lines.append(f"| {verdict.claim.text} | **{verdict.outcome}** | {shown} |")
    return "\n".join(lines) + "\n"


def _over_seeds(name: str, reports: Sequence[Report], arm: str) -> str:
    metrics = [report.arms[arm][name] for report in reports if name in report.arms[arm]]
    values = [metric.value for metric in metrics if metric.value is not None]
    if not values:
        return "-"
    if len(values) == 1:
        return f"{wording.amount(name, values[0])} {wording.interval(name, metrics[0].low, metrics[0].high)}"
    return f"{wording.amount(name, statistics.mean(values))} {wording.interval(name, min(values), max(values))}"
