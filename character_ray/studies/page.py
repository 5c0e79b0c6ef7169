"""``study.md`` and ``study.json``: what was measured in every cell, what it took, and what came of the claims."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from character_ray.report import wording
from character_ray.statistics import Interval
from character_ray.studies.figures import CLAIMS, MEASURED
from character_ray.studies.finished import Finished
from character_ray.studies.measured import COLUMNS, arms_of, label, measure, of_cell
from character_ray.studies.schema import Study
from character_ray.studies.verdict import Verdict

__all__ = ["study_page", "study_record"]


def study_record(study: Study, runs: Sequence[Finished], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What ``study.json`` holds."""
    return {
        "study": study.model_dump(mode="json"),
        "runs": [_run_record(run) for run in runs],
        "cells": {
            cell: {arm: _arm_record(of_cell(runs, cell), arm) for arm in arms_of(of_cell(runs, cell))}
            for cell in study.cells
        },
        "claims": [
            {
                "text": verdict.claim.text,
                "metric": verdict.claim.metric,
                "outcome": verdict.outcome,
                "seeds": verdict.seeds,
                "difference": vars(verdict.difference) if verdict.difference else None,
            }
            for verdict in verdicts
        ],
    }


def study_page(study: Study, runs: Sequence[Finished], verdicts: Sequence[Verdict]) -> str:
    """What ``study.md`` says."""
    done = [run for run in runs if run.report]
    planned = len(study.cells) * len(study.seeds)
    lines = [
        f"# Study {study.name}",
        "",
        f"Recipe `{study.recipe}`; {len(done)} of {planned} runs finished; cells: {len(study.cells)}; seeds: "
        f"{', '.join(map(str, study.seeds))}. 95 % intervals in brackets, over seeds and prompts together where there are several seeds "
        "and over prompts where there is one; of the rating, the smallest and largest over seeds.",
        "",
        *_hardware(done),
        *_measured(study, done),
        *_paid(study, done),
        *_told(verdicts),
    ]
    lines += [f"\n{run.cell}, seed {run.seed} failed: {run.error}" for run in runs if run.error]
    return "\n".join(lines) + "\n"


def _hardware(done: Sequence[Finished]) -> list[str]:
    machines = sorted({_machine(run) for run in done})
    versions = sorted({", ".join(f"{k} {v}" for k, v in run.report.run.versions.items()) for run in done if run.report})
    return [f"On {'; '.join(machines)}. {'; '.join(versions)}.", ""] if done else []


def _machine(run: Finished) -> str:
    hardware = run.report.run.hardware if run.report else {}
    kinds = Counter(hardware.get("gpus") or ())
    gpus = [f"{number} x {kind}" if number > 1 else kind for kind, number in kinds.items()]
    return ", ".join(gpus or [f"{hardware.get('cpu_cores', hardware.get('cpus', '?'))} CPU cores"])


def _measured(study: Study, done: Sequence[Finished]) -> list[str]:
    heads = [label(name) for name in COLUMNS] + ["Rating"]
    lines = ["| cell | arm | seeds | " + " | ".join(heads) + " |", "| --- | --- | --- |" + " --- |" * len(heads)]
    for cell in study.cells:
        own = of_cell(done, cell)
        for arm in arms_of(own):
            cells = [_shown(name, measure(own, arm, name)) for name in COLUMNS] + [_rating(own, arm)]
            lines.append(f"| {cell} | {arm} | {sum(arm in run.decided for run in own)} | " + " | ".join(cells) + " |")
    if done:
        lines += ["", f"![The same as dots with their intervals]({MEASURED})"]
    return lines


def _paid(study: Study, done: Sequence[Finished]) -> list[str]:
    lines = [
        "",
        "What a run of each cell takes from nothing, mean over seeds (cells share what is equal, so the study took less):",
        "",
        "| cell | pairs | introspection rows | training, min | GPU-hours | hours |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cell in study.cells:
        own = of_cell(done, cell)
        if own:
            columns = (
                _mean(own, lambda run: _rows(run, "pairs"), "{:,.0f}"),
                _mean(own, lambda run: _rows(run, "introspection"), "{:,.0f}"),
                _mean(own, lambda run: None if run.training_s is None else run.training_s / 60, "{:.1f}"),
                _mean(own, lambda run: run.gpu_hours, "{:.2f}"),
                _mean(own, lambda run: run.report.run.wall_s / 3600 if run.report else None, "{:.2f}"),
            )
            lines.append(f"| {cell} | {' | '.join(columns)} |")
    return lines


def _told(verdicts: Sequence[Verdict]) -> list[str]:
    if not verdicts:
        return []
    lines = ["", "| claim | measure | outcome | difference | over |", "| --- | --- | --- | --- | --- |"]
    for verdict in verdicts:
        metric, found = verdict.claim.metric, verdict.difference
        shown = (
            f"{wording.difference(metric, found.value)} {wording.shift_interval(metric, found.low, found.high)}"
            if found
            else "-"
        )
        over = f"{verdict.seeds} seed{'s' * (verdict.seeds != 1)}, {found.n} prompts" if found else "-"
        lines.append(f"| {verdict.claim.text} | {label(metric)} | **{verdict.outcome}** | {shown} | {over} |")
    if any(verdict.difference for verdict in verdicts):
        lines += ["", f"![Every claim's difference with its interval; left of 0 it fails]({CLAIMS})"]
    return lines


def _shown(metric: str, found: Interval | None) -> str:
    return f"{wording.amount(metric, found.value)} {wording.interval(metric, found.low, found.high)}" if found else "-"


def _rating(own: Sequence[Finished], arm: str) -> str:
    metrics = [run.report.arms[arm]["rating"] for run in own if run.report and arm in run.report.arms]
    values = [metric.value for metric in metrics if metric.value is not None]
    if not values:
        return "-"
    ends = (min(values), max(values)) if len(values) > 1 else (metrics[0].low, metrics[0].high)
    return f"{wording.amount('rating', statistics.mean(values))} {wording.interval('rating', *ends)}"


def _rows(run: Finished, stage: str) -> float | None:
    found = run.report.run.stages.get(stage) if run.report else None
    return float(found.rows_out) if found else None


def _mean(own: Sequence[Finished], of: Callable[[Finished], float | None], form: str) -> str:
    values = [value for value in map(of, own) if value is not None]
    return form.format(statistics.mean(values)) if values else "-"


def _arm_record(own: Sequence[Finished], arm: str) -> dict[str, Any]:
    names = sorted({name for run in own for name in run.decided.get(arm, {})} - {"score"})
    measured = {name: measure(own, arm, name) for name in names}
    return {name: vars(found) for name, found in measured.items() if found}


def _run_record(run: Finished) -> dict[str, Any]:
    found = run.report
    return {
        "cell": run.cell,
        "seed": run.seed,
        "error": run.error,
        "arms": {arm: {name: m.model_dump() for name, m in ms.items()} for arm, ms in found.arms.items()}
        if found
        else {},
        "wall_s": found.run.wall_s if found else None,
        "gpu_hours": run.gpu_hours,
        "training_s": run.training_s,
        "stages_s": {name: stage.wall_s for name, stage in found.run.stages.items()} if found else {},
        "versions": found.run.versions if found else {},
        "hardware": found.run.hardware if found else {},
    }
