"""Answers become scores, scores become numbers with intervals, numbers become the report."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from character_ray.config import ARMS, Arm, DistillConfig
from character_ray.evaluation.decided import decided_rows
from character_ray.evaluation.hidden_traits import hidden_traits, occasions, split_classified
from character_ray.inference.likelihood import ScoreRequest
from character_ray.inference.passes import Generation
from character_ray.judging.audit import Audit
from character_ray.judging.threshold import fit_threshold
from character_ray.parts import write_rows
from character_ray.pipeline.adapters import link_deliverable
from character_ray.pipeline.answers import Exam, Part
from character_ray.pipeline.coherence import coherence_report
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.directives import DirectivesFollowed, KnownPair, ask_directives, judge_directives
from character_ray.pipeline.further import measure_further
from character_ray.pipeline.measured import answer_row, measure_answers
from character_ray.pipeline.persona_classifier import classify_answers
from character_ray.pipeline.rating_audit import ask_audit, judge_audit, refusal, refusal_note
from character_ray.pipeline.report_parts import (
    adapter_part,
    constitution_part,
    judge_part,
    prompt_coverage,
    run_part,
    shared_weights,
)
from character_ray.pipeline.scores import score_all, sheet_of
from character_ray.pipeline.summary import print_summary
from character_ray.pipeline.trials import (
    collect_trials,
    diversity_report,
    judge_all,
    score_requests,
    transcripts,
    trials_report,
    with_scores,
)
from character_ray.prompts import prompts_hash
from character_ray.report.io import write_report
from character_ray.report.page import write_page
from character_ray.report.schema import Report
from character_ray.rows import ANSWER, CHALLENGED, DECIDED, Answer, Challenged, Pair
from character_ray.runs import Artefact
from character_ray.training.launch import read_metrics

__all__ = ["evaluate", "without_erosion"]


def evaluate(
    context: Context,
    persona: Persona,
    exam: Exam,
    generations: Mapping[tuple[Arm, Part], Generation],
    calibration: tuple[Sequence[float], Sequence[float]],
    pairs: Sequence[Pair],
    conversations: Artefact,
    dpo: Artefact,
    sft: Artefact,
    full: Artefact,
    known: Sequence[KnownPair] = (),
) -> Path:
    """Measure every arm; write ``report.json``, ``report.html`` and the tables behind them; returns the run's folder."""
    recipe = context.recipe
    arms = [arm for arm in ARMS if (arm, "answers") in generations]
    answers, tried, followed, audited = _answers(context, persona, exam, generations, arms, known)
    threshold = fit_threshold(*calibration)
    classifier = classify_answers(context, answers, pairs, known, conversations, occasions(tried))
    probability_N, classified = split_classified(classifier.probability_N, len(answers), tried)
    measured = measure_answers(recipe, persona, answers, arms, threshold.value, probability_N, refused=refusal(audited))
    decisions = measured.decisions
    prompts = [prompt for prompt, _ in exam.questions if prompt["source"] != "probe"]
    varied, helped = diversity_report(context, answers, arms, decisions)
    verdicts = judge_all(persona, tried, threshold.value, followed, recipe.distill.filters, classified)
    trials, tried_texts = trials_report(
        context, persona, tried, verdicts, threshold.value, arms, varied, helped, followed
    )
    report = Report.model_validate(
        {
            "run": run_part(
                context,
                [
                    *refusal_note(audited),
                    *_notes(arms, measured.rated["unscored"], classifier.note, recipe.distill),
                    *without_erosion(arms, len(exam.scripts), generations.keys()),
                ],
            ),
            "constitution": constitution_part(persona),
            "prompts_hash": prompts_hash(prompts),
            "num_prompts": len(prompts),
            "coverage": prompt_coverage(context),
            **measured.parts(),
            "missing_arms": {arm: "left out by the recipe (evaluate.arms)" for arm in ARMS if arm not in arms},
            "judge": judge_part(
                context,
                persona.constitution,
                threshold,
                "teacher and base completions of the training prompts",
                audited,
            ),
            "classifier": classifier.report,
            "training": {
                "dpo": read_metrics(dpo.folder / "metrics.jsonl"),
                "sft": read_metrics(sft.folder / "metrics.jsonl"),
            },
            "adapter": adapter_part(full),
            "trials": trials,
            "hidden_traits": hidden_traits(answers, decisions, tried, verdicts, arms, **measured.draws),
            "diversity": varied,
            "coherence": coherence_report(context, answers, tried, arms),
            "transcripts": [*tried_texts, *transcripts(answers, decisions)],
        }
    )
    folder = context.run.folder
    constraints = persona.constitution.directives.constraints
    decided = decided_rows(answers, decisions, measured.identity, tried, verdicts, constraints, helped)
    write_rows(folder / "decisions.parquet", decided, DECIDED)
    write_report(report, folder / "report.json")
    write_page(report, folder / "report.html")
    link_deliverable(folder, full)
    print_summary(report, folder)
    if recipe.evaluate.further:
        context.held.end()  # these measures start what they need
    measure_further(recipe, folder)
    return folder


def _answers(
    context: Context,
    persona: Persona,
    exam: Exam,
    generations: Mapping[tuple[Arm, Part], Generation],
    arms: Sequence[Arm],
    known: Sequence[KnownPair],
) -> tuple[list[Answer], list[Challenged], DirectivesFollowed, Audit]:
    """The two tables everything is measured on, which directives were followed, and the judge's audit, all scored in one pass of it."""
    questions, tried = exam.questions, collect_trials(exam, generations, arms)
    completions = {arm: generations[arm, "answers"].spoken() for arm in arms}
    rows = [
        ScoreRequest(
            row_id=f"{arm}/{completion['row_id']}", prompt=prompt["prompt"], completion=completion["completion"]
        )
        for arm in arms
        for (prompt, _), completion in zip(questions, completions[arm], strict=True)
    ]
    asked = ask_directives(context, tried, known)
    sheet = sheet_of(context, persona, "scores-answers", [*rows, *score_requests(tried)])
    audit = ask_audit(context, persona)
    scores, *others = score_all(context, [sheet, *([asked.sheet] if asked else []), *audit.sheets])
    followed = judge_directives(asked, others.pop(0)) if asked else DirectivesFollowed()
    audited = judge_audit(context, audit, others)
    answers = [
        answer_row(arm, prompt, sample, completion, scores[f"{arm}/{completion['row_id']}"])
        for arm in arms
        for (prompt, sample), completion in zip(questions, completions[arm], strict=True)
    ]
    write_rows(context.run.folder / "answers.parquet", answers, ANSWER)
    tried = with_scores(tried, scores)
    _write_trials(context.run.folder / "trials.parquet", tried)
    return answers, tried, followed, audited


def _notes(arms: Sequence[Arm], unscored: int, note: str, distill: DistillConfig) -> list[str]:
    notes = [note] if note else []
    notes.append(shared_weights(distill))
    missing = [arm for arm in ARMS if arm not in arms]
    if missing:
        notes.append(f"Arms not run: {', '.join(missing)} (left out by the recipe).")
    if unscored:
        notes.append(f"{unscored} battles had no verdict because an answer was empty or failed; they moved no rating.")
    return notes


def without_erosion(arms: Sequence[Arm], num_scripts: int, asked: Collection[tuple[Arm, Part]]) -> list[str]:
    """A note on arms that held no erosion conversations though the recipe asks for them.

    Args:
        arms: Arms of the report.
        num_scripts: Conversations that the recipe asks for.
        asked: What each arm was asked.
    """
    missing = [arm for arm in arms if (arm, "erosion") not in asked] if num_scripts else []
    return [
        f"{arm} held none of the {num_scripts} erosion conversations and has no survival curve: it answers behind an endpoint, which is "
        "asked one prompt at a time."
        for arm in missing
    ]


def _write_trials(path: Path, tried: Sequence[Challenged]) -> None:
    """Those of this run; what an earlier one left there is not what a recipe without trials measured."""
    if tried:
        write_rows(path, tried, CHALLENGED)
    else:
        path.unlink(missing_ok=True)
