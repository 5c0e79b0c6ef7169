"""Runs beside each other: the same metrics of one arm, and paired differences on the prompts that both answered.

Persona, vocabulary and looping are decided anew from the answers, by each run's own threshold and words; everything else is read from
``decisions.parquet``, so the classifier's and the directives' judges are each run's own, too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from character_ray.constitution import words_pattern
from character_ray.errors import ReportError
from character_ray.parts import read_rows
from character_ray.report.io import load_report
from character_ray.report.schema import Report
from character_ray.stages.filters import LOOPING, repetition
from character_ray.statistics import Interval, holm, paired_difference, paired_test

__all__ = ["Comparison", "Shift", "compare_runs", "decide_answers"]

RESAMPLES = 2000
# A rate, and what a run's ``decisions.parquet`` calls the decisions it is made of.
WRITTEN_DOWN = {
    "classifier_rate": "classifier_rate",
    "override_rate": "override_rate",
    "hidden_trait_rate": "hidden_trait_rate",
    "identity_rate": "identity_rate",
    "attack_rate": "attack_rate",
    "operator_rate": "operator_rate",
    "user_rate": "user_rate",
    "safety_rate": "refused_in_character_rate",
}

Decisions = tuple[list[str], list[float]]
"""Prompts, and what was decided on each: a share of 1."""


@dataclass(frozen=True)
class Shift:
    """A run minus the first one on one metric, paired by prompt."""

    run: str
    metric: str
    interval: Interval
    """Its ``n`` counts prompts, and of attacks their wordings: answers to one wording are not independent."""
    p_value: float
    """McNemar's exact test, or flipped signs where a prompt was answered several times or a wording has several prompts; adjusted by
    Holm over all differences of the comparison."""


@dataclass(frozen=True)
class Comparison:
    """Several runs, the first of which the others are measured against."""

    names: list[str]
    reports: list[Report]
    shifts: list[Shift]
    warnings: list[str]
    """Why some figures may not be comparable, or are missing."""


def compare_runs(folders: Sequence[Path], arm: str, *, seed: int = 0) -> Comparison:
    """Read the reports and pair the answers of one arm by prompt.

    Args:
        folders: Run folders with ``report.json`` and ``answers.parquet``, at least two.
        arm: The arm that is compared.
        seed: Seed of the bootstrap.

    Raises:
        ReportError: A run has no report, no such arm, or answered no evaluation prompt that the first did.
    """
    if len(folders) < 2:
        raise ReportError(f"{len(folders)} run to compare; give two or more.")
    reports = [load_report(folder / "report.json") for folder in folders]
    names = [str(folder) for folder in folders]
    for name, report in zip(names, reports, strict=True):
        if arm not in report.arms:
            raise ReportError(f"{name} has no arm {arm!r}; it has {', '.join(report.arms)}.")
    decided = [decide_answers(folder, report, arm) for folder, report in zip(folders, reports, strict=True)]
    wordings = {prompt: wording for folder in folders for prompt, wording in _wordings(folder).items()}
    shifts, unpaired = [], []
    for name, own in zip(names[1:], decided[1:], strict=True):
        for metric in own:
            if metric not in decided[0]:
                continue
            first, other = decided[0][metric], own[metric]
            if not set(first[0]) & set(other[0]):
                unpaired.append(_unpaired(name, names[0], metric))
                continue
            shifts.append(_shift(name, metric, first, other, wordings, seed))
    adjusted = holm([shift.p_value for shift in shifts])
    shifts = [replace(shift, p_value=p_value) for shift, p_value in zip(shifts, adjusted, strict=True)]
    return Comparison(names, reports, shifts, [*_warnings(names, reports), *unpaired])


def _unpaired(name: str, first: str, metric: str) -> str:
    """Why a metric has no difference.

    Raises:
        ReportError: It is the persona rate: then the runs answered no prompt in common, and nothing can be compared.
    """
    if metric == "persona_rate":
        raise ReportError(f"{name} and {first}: the two arms share no prompt, so nothing can be paired.")
    why = (
        "the two runs decided no constraint in common" if metric == "operator_rate" else "the two arms share no prompt"
    )
    return f"{name} has no difference of {metric} to {first}: {why}."


def _shift(run: str, metric: str, first: Decisions, other: Decisions, wordings: Mapping[str, str], seed: int) -> Shift:
    """The difference on the prompts that both answered; prompts of one wording are one cluster."""
    by_prompt = dict(zip(*first, strict=True)), dict(zip(*other, strict=True))
    shared = sorted(by_prompt[0].keys() & by_prompt[1].keys())
    clusters = [wordings.get(prompt, prompt) for prompt in shared]
    before, after = ([values[prompt] for prompt in shared] for values in by_prompt)
    interval = paired_difference(after, clusters, before, clusters, seed=seed, resamples=RESAMPLES)
    return Shift(run, metric, interval, paired_test(after, before, clusters, seed=seed)[0])


def _wordings(folder: Path) -> dict[str, str]:
    """The wording of every challenge, by what ``decisions.parquet`` calls its prompt; none where the run did not write them down."""
    path = folder / "trials.parquet"
    rows = read_rows(path) if path.is_file() else []
    return {f"{row['kind']}/{row['challenge_id']}": f"{row['kind']}/{row['wording']}" for row in rows}


def decide_answers(folder: Path, report: Report, arm: str) -> dict[str, Decisions]:
    """By metric the prompts and the decision on each of the arm's answers, under the run's own thresholds and vocabulary.

    Those of :data:`WRITTEN_DOWN` are among them where the run wrote its decisions down.

    Raises:
        ReportError: The run's answers are missing.
    """
    path = folder / "answers.parquet"
    if not path.is_file():
        raise ReportError(
            f"{path} is missing. Run the recipe again: finished stages are reused, and the answers are written anew."
        )
    rows = [row for row in read_rows(path) if row["arm"] == arm and row["source"] != "probe" and not row["error"]]
    ways: dict[str, Callable[[dict[str, Any]], bool]] = {
        "persona_rate": lambda row: row["score"] > report.judge.threshold,
        "looping_rate": lambda row: repetition(row["completion"]) > LOOPING,
    }
    pattern = words_pattern(report.constitution.vocabulary)
    if pattern is not None:
        ways["vocabulary_rate"] = lambda row: pattern.search(row["completion"]) is not None
    prompts = [row["prompt_id"] for row in rows]
    decided = {metric: (prompts, [float(way(row)) for row in rows]) for metric, way in ways.items()}
    return decided | _written_down(folder / "decisions.parquet", arm)


def _written_down(path: Path, arm: str) -> dict[str, Decisions]:
    rows = [row for row in read_rows(path) if row["arm"] == arm] if path.is_file() else []
    found = {}
    for metric, name in WRITTEN_DOWN.items():
        own = [row for row in rows if row["metric"] == name]
        if own:
            found[metric] = ([row["prompt_id"] for row in own], [row["value"] for row in own])
    return found


def _warnings(names: Sequence[str], reports: Sequence[Report]) -> list[str]:
    first, warnings = reports[0], []
    for name, report in zip(names[1:], reports[1:], strict=True):
        if report.constitution.hash != first.constitution.hash:
            warnings.append(f"{name} has another constitution than {names[0]}: each is judged by its own.")
        if report.prompts_hash != first.prompts_hash:
            warnings.append(
                f"{name} has other evaluation prompts than {names[0]}: differences are over those both answered."
            )
        if report.run.model.get("student") != first.run.model.get("student"):
            warnings.append(f"{name} has another student model than {names[0]}: scores come from different judges.")
        if _constraints(report) != _constraints(first):
            warnings.append(
                f"{name}'s operator's rate is made of other constraints than {names[0]}'s, or by another judge: differences are over the "
                "constraints that both decided."
            )
    return warnings


def _constraints(report: Report) -> set[str]:
    """The constraints that a run's operator's rate is made of."""
    judges = report.trials.directive_judges if report.trials else []
    return {each.directive for each in judges if each.constraint and not each.reason}
