"""Audit a judge on a run's own known pairs: the teacher's completions in character against the base model's."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from character_ray.config import AuditConfig, ModelConfig, Recipe
from character_ray.constitution import system_prompt
from character_ray.errors import ReportError
from character_ray.inference.ab_judge import judge_pairs
from character_ray.inference.likelihood import ScoreRequest
from character_ray.judging.audit import Audit, KnownPair, SeatedPair, audit, seat
from character_ray.judging.verdict import from_gap, from_probability, to_points
from character_ray.models import resolve_model
from character_ray.parts import read_parts, read_rows
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.personas import load_trained
from character_ray.pipeline.ray_session import ray_session
from character_ray.pipeline.scores import score
from character_ray.spoken import without_thoughts

__all__ = ["audit_judge", "known_pairs", "verdicts_by_scores"]


def audit_judge(run: Path, recipe: Recipe, chat_judge: str | None) -> Audit:
    """Measure the likelihood judge, or a chat model that answers A or B, on known pairs of a finished run.

    Args:
        run: The run's folder.
        recipe: Its recipe.
        chat_judge: Name of the chat model; ``None`` for the likelihood judge.

    Raises:
        ReportError: The run has too few pairs to tell anything.
        ConstitutionError: The constitution was edited since the run was made.
        ModelError: The chat model cannot be found.
    """
    persona, bounds = load_trained(recipe, run), recipe.judge.audit
    pairs = known_pairs(run, bounds, recipe.seed)
    with ray_session(recipe):
        if chat_judge is None:
            verdicts = _by_likelihood(Context.open(recipe), persona, pairs)
        else:
            model = resolve_model(ModelConfig(name=chat_judge))
            likely = judge_pairs(
                f"{chat_judge} as judge", seat(pairs), model, system_prompt(persona.constitution), recipe.judge
            )
            verdicts = {row_id: to_points(from_probability(each, 0.0)) for row_id, each in likely.items()}
    return audit(pairs, verdicts, bounds, seed=recipe.seed)


def known_pairs(run: Path, bounds: AuditConfig, seed: int) -> list[KnownPair]:
    """Teacher against base on training prompts of a finished run.

    Raises:
        ReportError: The run has fewer than eight such pairs.
    """
    if not (run / "prompts" / "train.parquet").is_file():
        raise ReportError(
            f"{run} has no training prompts of its own (it may be an update), so it has no pairs that are known. Set audit_run to the run "
            "it came from."
        )
    prompts = {row["prompt_id"]: row["prompt"] for row in read_rows(run / "prompts" / "train.parquet")}
    teacher, base = (_completions(run / stage) for stage in ("teacher", "student"))
    usable = sorted(
        prompt_id
        for prompt_id in prompts.keys() & teacher.keys() & base.keys()
        if teacher[prompt_id].split() != base[prompt_id].split()
    )
    chosen = random.Random(seed).sample(usable, min(bounds.pairs, len(usable)))
    if len(chosen) < 8:
        raise ReportError(
            f"{run} has {len(chosen)} prompts that teacher and student answered differently, too few to tell what a judge is worth. "
            "Audit a run with more prompts."
        )
    return [KnownPair(prompt_id=each, prompt=prompts[each], better=teacher[each], worse=base[each]) for each in chosen]


def _completions(stage: Path) -> dict[str, str]:
    """The first sample's text by prompt."""
    rows: list[dict[str, Any]] = [row for row in read_parts(stage) if not row["error"] and row["sample"] == 0]
    said = {row["prompt_id"]: without_thoughts(row["completion"]) for row in rows}
    return {prompt_id: text for prompt_id, text in said.items() if text}


def _by_likelihood(context: Context, persona: Persona, pairs: list[KnownPair]) -> dict[str, float]:
    seated = seat(pairs)
    rows = [
        ScoreRequest(row_id=f"{row['row_id']}/{side}", prompt=row["prompt"], completion=text)
        for row in seated
        for side, text in (("first", row["first"]), ("second", row["second"]))
    ]
    return verdicts_by_scores(seated, score(context, persona, "scores-audit", rows), context.recipe.judge.tie_margin)


def verdicts_by_scores(rows: Sequence[SeatedPair], scores: Mapping[str, float], tie_margin: float) -> dict[str, float]:
    """What the first seat of every row scores; NaN, a seating without a verdict, where a side has no score.

    Args:
        rows: Pairs in their seats.
        scores: Scores by row id and seat, as ``row/first``.
        tie_margin: Scores no further apart are a tie.
    """
    gaps = {row["row_id"]: scores[f"{row['row_id']}/first"] - scores[f"{row['row_id']}/second"] for row in rows}
    return {row_id: to_points(from_gap(gap, tie_margin)) for row_id, gap in gaps.items()}
