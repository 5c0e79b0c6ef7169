"""Audit a judge on a run's own known pairs: the teacher's completions in character against the base model's.

The run audits its likelihood judge before it rates its arms (:func:`known_sheet`, :func:`audit_by_scores`), with the scores that
``character-ray audit`` reads later.
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from character_ray.config import AuditConfig, ModelConfig, Recipe
from character_ray.constitution import system_prompt
from character_ray.errors import ReportError
from character_ray.inference.ab_judge import judge_pairs
from character_ray.inference.score_sheets import Sheet
from character_ray.judging.audit import Audit, KnownPair, Writer, audit, seat
from character_ray.judging.verdict import from_probability, to_points
from character_ray.models import model_hash, resolve_model
from character_ray.parts import read_parts, read_rows
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.identities import Identity, identity_of_student, known_writer
from character_ray.pipeline.judges import to_score_once, verdicts_by_scores
from character_ray.pipeline.personas import load_trained
from character_ray.pipeline.ray_session import ray_session
from character_ray.pipeline.scores import score_all, sheet_of
from character_ray.rows import Completion
from character_ray.spoken import without_thoughts

__all__ = ["audit_by_scores", "audit_judge", "choose_pairs", "first_said", "known_pairs", "known_sheet"]


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
    with ray_session(recipe, does=()):
        if chat_judge is None:
            context = Context.open(recipe)
            (scores,) = score_all(context, [known_sheet(context, persona, pairs)])
            own = known_writer(identity_of_student(recipe, context.student.hash), run, recipe)
            return audit_by_scores(recipe, pairs, scores, own)
        model = resolve_model(ModelConfig(name=chat_judge))
        likely = judge_pairs(
            f"{chat_judge} as judge", seat(pairs), model, system_prompt(persona.constitution), recipe.judge
        )
    verdicts = {row_id: to_points(from_probability(each, 0.0)) for row_id, each in likely.items()}
    own = known_writer(Identity(chat_judge, hash=model_hash(model)), run, recipe)
    return audit(pairs, verdicts, bounds, seed=recipe.seed, own=own)


def known_sheet(context: Context, persona: Persona, pairs: Sequence[KnownPair]) -> Sheet:
    """What the likelihood judge reads of known pairs: every text once, whole and cut."""
    return sheet_of(context, persona, "scores-audit", to_score_once(seat(pairs)))


def audit_by_scores(recipe: Recipe, pairs: Sequence[KnownPair], scores: Mapping[str, float], own: Writer) -> Audit:
    """What the likelihood judge is worth by its scores of :func:`known_sheet`, under the recipe's bounds and tie margin."""
    verdicts = verdicts_by_scores(seat(pairs), scores, recipe.judge.tie_margin)
    return audit(pairs, verdicts, recipe.judge.audit, seed=recipe.seed, own=own)


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
    teacher, base = (first_said(read_parts(run / stage)) for stage in ("teacher", "student"))  # type: ignore[arg-type]
    return choose_pairs(run, prompts, teacher, base, bounds, seed)


def choose_pairs(
    run: Path,
    prompts: Mapping[str, str],
    teacher: Mapping[str, str],
    base: Mapping[str, str],
    bounds: AuditConfig,
    seed: int,
) -> list[KnownPair]:
    """Known pairs among prompts that both sides answered, and not alike.

    Args:
        run: Whose pairs they are, for the error.
        prompts: Texts by id.
        teacher: What the teacher said, by prompt.
        base: What the untrained student said.
        bounds: How many are wanted.
        seed: Seed of the choice.

    Raises:
        ReportError: There are fewer than eight.
    """
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


def first_said(completions: Sequence[Completion]) -> dict[str, str]:
    """The first sample's text by prompt, without thoughts; failed and empty ones are left out."""
    rows: list[Any] = [row for row in completions if not row["error"] and row["sample"] == 0]
    said = {row["prompt_id"]: without_thoughts(row["completion"]) for row in rows}
    return {prompt_id: text for prompt_id, text in said.items() if text}
