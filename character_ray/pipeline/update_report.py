"""The report of an update, by which an updated character is published as any other: ``report.json``, ``.html``, ``answers.parquet``.

    answers of the updated character, and of the old run's base and full  ->  scores under the new version  ->  metrics of three arms

``full`` is the updated character, ``before`` the one it was, ``base`` the untrained student; the last two said what they said in the old
run, to the same prompts. All are judged by the new version, with a threshold fixed anew.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from character_ray.inference.likelihood import ScoreRequest
from character_ray.inference.passes import Generation
from character_ray.inference.score_sheets import Sheet
from character_ray.judging.threshold import fit_threshold
from character_ray.parts import read_parts, read_rows, write_rows
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.finished import FinishedRun
from character_ray.pipeline.judge_audit import choose_pairs, first_said
from character_ray.pipeline.measured import answer_row, measure_answers
from character_ray.pipeline.rating_audit import ask_audit, judge_audit, refusal, refusal_note
from character_ray.pipeline.report_parts import (
    adapter_part,
    constitution_part,
    judge_part,
    run_part,
    shared_weights,
)
from character_ray.pipeline.scores import score_all, sheet_of
from character_ray.pipeline.summary import print_summary
from character_ray.pipeline.trials import diversity_report, transcripts
from character_ray.prompts import prompts_hash
from character_ray.report.io import write_report
from character_ray.report.page import write_page
from character_ray.report.schema import Report
from character_ray.rows import ANSWER, Answer, Completion, Prompt
from character_ray.runs import Artefact
from character_ray.training.launch import read_metrics

__all__ = ["BEFORE", "Known", "known_completions", "report_update", "updated_answers"]

BEFORE = "before"
"""The arm of the character as it was."""

Scorer = Callable[[Context, Sequence[Sheet]], list[dict[str, float]]]

# The untouched prompts whose teacher and base completions help to fix the threshold.
UNTOUCHED = 64


@dataclass(frozen=True)
class Known:
    """Completions of training prompts whose writer is known, which fix the judge's threshold."""

    prompts: dict[str, str]
    """Texts by id."""
    teacher: list[Completion]
    """Under the new version on the affected prompts, under the old one elsewhere."""
    student: list[Completion]
    """The untrained student's."""

    def calibration(self, scores: Mapping[str, float]) -> tuple[list[float], list[float]]:
        """Scores of teacher and student, by row id."""
        return [scores[each["row_id"]] for each in self.teacher], [scores[each["row_id"]] for each in self.student]


def known_completions(run: FinishedRun, affected: Sequence[Prompt], taught: Generation, seed: int) -> Known:
    """What is known of the affected prompts, and of some that the update leaves alone.

    Args:
        run: The finished run of the old version.
        affected: Prompts that the teacher answered anew.
        taught: Its answers.
        seed: Seed of the draw of the others.
    """
    touched = {prompt["prompt_id"] for prompt in affected}
    others = [prompt for prompt in run.prompts("train") if prompt["prompt_id"] not in touched]
    others = random.Random(seed).sample(others, min(UNTOUCHED, len(others)))
    left = {prompt["prompt_id"] for prompt in others}
    teacher, student = (_completions(run.folder / stage) for stage in ("teacher", "student"))
    return Known(
        {prompt["prompt_id"]: prompt["prompt"] for prompt in (*affected, *others)},
        [row for row in taught.completions() if not row["error"]]
        + [row for row in teacher if row["prompt_id"] in left],
        [row for row in student if row["prompt_id"] in touched | left],
    )


def report_update(
    context: Context,
    persona: Persona,
    run: FinishedRun,
    questions: Sequence[tuple[Prompt, int]],
    answered: Generation,
    known: Known,
    calibration: tuple[Sequence[float], Sequence[float]],
    delta: Artefact,
    updated: Artefact,
    score_sheets: Scorer = score_all,
) -> Report:
    """Measure the updated character beside the old one and the untrained student, and write the report.

    Args:
        context: The update's run.
        persona: The new version.
        run: The finished run of the old version.
        questions: Held-out prompts and probes, each with the number of its sample.
        answered: What the updated character said to them.
        known: Completions of training prompts, which the judge is audited on.
        calibration: Scores of teacher and untrained student on training prompts, under the new version.
        delta: The training of what changed.
        updated: Character and delta as one adapter.
        score_sheets: Scores completions under the new version.

    Raises:
        ReportError: Too few known completions fix a threshold.
    """
    recipe, folder = context.recipe, context.run.folder
    answers = updated_answers(run, questions, answered.spoken())
    rows = [
        ScoreRequest(row_id=f"{each['arm']}/{each['row_id']}", prompt=each["prompt"], completion=each["completion"])
        for each in answers
    ]
    audit = ask_audit(
        context,
        persona,
        lambda: choose_pairs(
            folder,
            known.prompts,
            first_said(known.teacher),
            first_said(known.student),
            recipe.judge.audit,
            recipe.seed,
        ),
    )
    scores, *of_known = score_sheets(context, [sheet_of(context, persona, "scores-answers", rows), *audit.sheets])
    audited = judge_audit(context, audit, of_known)
    answers = [Answer(**{**each, "score": scores[f"{each['arm']}/{each['row_id']}"]}) for each in answers]
    write_rows(folder / "answers.parquet", answers, ANSWER)
    threshold = fit_threshold(*calibration)
    arms = list(dict.fromkeys(each["arm"] for each in answers))
    measured = measure_answers(recipe, persona, answers, arms, threshold.value, refused=refusal(audited))
    for metrics in measured.metrics.values():
        metrics["classifier_rate"] = {"value": None, "reason": "an update trains no persona classifier"}
    prompts = [prompt for prompt, _ in questions if prompt["source"] != "probe"]
    varied, _ = diversity_report(context, answers, arms, measured.decisions)
    notes = [
        f"An update of {run.folder}: full is the updated character, before the one it was. Both, and base, are judged by the new version "
        "of the constitution; what base and before said is the old run's. How local the update is stands in update.json.",
        shared_weights(recipe.distill),
        *refusal_note(audited),
    ]
    report = Report.model_validate(
        {
            "run": run_part(context, notes),
            "constitution": constitution_part(persona),
            "prompts_hash": prompts_hash(prompts),
            "num_prompts": len(prompts),
            **measured.parts(),
            "judge": judge_part(
                context,
                persona.constitution,
                threshold,
                "teacher and base completions of training prompts, the teacher's under the new version where the update touches them",
                audited,
            ),
            "classifier": None,
            "training": {"delta": read_metrics(delta.folder / "metrics.jsonl")},
            "adapter": adapter_part(updated),
            "diversity": varied,
            "transcripts": transcripts(answers, measured.decisions),
        }
    )
    write_report(report, folder / "report.json")
    write_page(report, folder / "report.html")
    print_summary(report, folder)
    return report


def updated_answers(
    run: FinishedRun, questions: Sequence[tuple[Prompt, int]], completions: Sequence[Completion]
) -> list[Answer]:
    """One table of what base, the old character and the updated one said to the same questions; scores are not known yet.

    A question of the old run that is not asked any more is left out, and one that is new has an answer of the updated character alone.
    """
    asked = {(prompt["prompt_id"], sample) for prompt, sample in questions}
    rows: list[Answer] = read_rows(run.folder / "answers.parquet")  # type: ignore[assignment]
    old = [row for row in rows if (row["prompt_id"], row["sample"]) in asked]
    base, before = ([row for row in old if row["arm"] == arm] for arm in ("base", "full"))
    new = [
        answer_row("full", prompt, sample, completion)
        for (prompt, sample), completion in zip(questions, completions, strict=True)
    ]
    return [*base, *(Answer(**{**row, "arm": BEFORE}) for row in before), *new]


def _completions(stage: Path) -> list[Completion]:
    rows: list[Completion] = read_parts(stage)  # type: ignore[assignment]
    return [row for row in rows if not row["error"]]
