"""Preference pairs: every side is scored, one sample is chosen, and what must not be trained on says why.

teacher, student or another -> scores-pairs (character), scores-relevance (where the recipe asks) -> pairs/pairs.parquet
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from character_ray.inference.passes import Generation
from character_ray.inference.score_sheets import Sheet
from character_ray.parts import read_rows, write_rows
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.imported import brought_pairs
from character_ray.pipeline.scores import check_dropped, count_kept, relevance_sheet, score_all, sheet_of, to_score
from character_ray.rows import PAIR, Pair, Prompt
from character_ray.runs import Artefact
from character_ray.stages.distill import build_pairs, tidy
from character_ray.stages.imported import filter_pairs
from character_ray.stages.lessons import count_directives, lesson_pairs, plan_lessons
from character_ray.stages.sample_lessons import relevance_pairs, repetition_pairs
from character_ray.stages.thoughts import check_thoughts

__all__ = ["PairSides", "make_pairs", "pair_sheets"]


@dataclass(frozen=True)
class PairSides:
    """What the pairs of one character are chosen from."""

    teacher: Generation
    student: Generation
    other: Generation | None = None
    """Rejected instead of the student: the opposite's answers, or the parent adapter's."""
    lessons: tuple[Generation, Generation] | None = None
    """What the lessons asked of teacher and student."""

    @property
    def every(self) -> list[Generation]:
        """All of them. The student is scored even where another is rejected: the judge's threshold is fixed on teacher and student."""
        return [self.teacher, self.student, *([self.other] if self.other else []), *(self.lessons or ())]


def pair_sheets(context: Context, persona: Persona, prompts: Sequence[Prompt], sides: PairSides) -> list[Sheet]:
    """What :func:`make_pairs` of the same arguments has scored: character, and relevance where the recipe reads it.

    Raises:
        CharacterRayError: The teacher's thoughts are not what the recipe asks for.
    """
    recipe = context.recipe
    check_thoughts(sides.teacher.completions(), recipe.distill)
    texts = {prompt["prompt_id"]: prompt["prompt"] for prompt in prompts}
    planned = plan_lessons(prompts, persona.constitution, recipe.distill)
    texts |= {f"{lesson.lesson_id}-{side}": lesson.prompt for lesson in planned for side in ("chosen", "rejected")}
    rows = [
        to_score(completion, texts[completion["prompt_id"]], tidy(completion, recipe.distill.filters))
        for side in sides.every
        for completion in side.completions()
    ]
    sheets = [sheet_of(context, persona, "scores-pairs", rows)]
    if recipe.distill.reads_relevance:
        sheets.append(relevance_sheet(context, persona.prefix, sides.teacher.completions(), texts))
    return sheets


def make_pairs(
    context: Context, persona: Persona, prompts: Sequence[Prompt], sides: PairSides
) -> tuple[Artefact, list[Pair], dict[str, float]]:
    """Score every side (:func:`pair_sheets`), choose, filter, and write the pairs; also the likelihood ratios by row id.

    Raises:
        GenerationError: More of them are dropped than ``distill.max_dropped_share`` allows.
    """
    recipe = context.recipe
    sheets = pair_sheets(context, persona, prompts, sides)
    scores, *others = score_all(context, sheets)
    relevance = others[0] if others else None
    teacher, rejected, lessons = sides.teacher, sides.other or sides.student, sides.lessons
    distill = recipe.distill.model_copy(update={"filters": persona.filters(recipe.distill.filters)})
    planned = plan_lessons(prompts, persona.constitution, recipe.distill)
    written = [completion for side in lessons or () for completion in side.completions()]
    taught = lesson_pairs(planned, written, scores, distill) if lessons else []
    inputs: dict[str, Any] = {
        "sources": [side.artefact.fingerprint for side in sides.every],
        "judge": recipe.judge.dtype,
        "base": context.student.identity,
        "filters": distill.filters.model_dump(),
        **({"repetition": distill.lessons.repetition} if distill.lessons.repetition else {}),
        # They were trained on several times once.
        **({"equal_lessons": "dropped"} if any(pair["drop_reason"] == "duplicate" for pair in taught) else {}),
    }
    brought = recipe.distill.pairs is not None and not persona.prefix
    if brought:
        # Of what was generated here it is among the teacher's inputs.
        inputs["constitution"] = persona.constitution.fingerprint
    if distill.reads_relevance:
        inputs["relevance"] = [distill.choose, distill.lessons.relevance, sheets[1].artefact.fingerprint]
    artefact = context.artefact(f"{persona.prefix}pairs", inputs)
    reused = artefact.is_done
    with artefact.making() as to_make:
        if to_make:
            started = monotonic()
            samples, by = teacher.completions(), relevance if distill.choose == "relevance" else None
            if brought:
                contrast = filter_pairs(brought_pairs(context, prompts), scores, distill.filters)
            else:
                contrast = build_pairs(prompts, samples, rejected.completions(), scores, distill, by)
            pairs = contrast + repetition_pairs(contrast, samples, scores, distill)
            if relevance is not None:
                pairs += relevance_pairs(contrast, samples, scores, relevance, distill)
            pairs += taught
            write_rows(artefact.folder / "pairs.parquet", pairs, PAIR)
            counts = {**count_kept(pairs, _dropped_side), "by_directive": count_directives(pairs)}
            artefact.finish({"wall_s": monotonic() - started, **counts})
    context.close(artefact, reused=reused)
    check_dropped(artefact, "distill", distill.max_dropped_share)
    pairs = [Pair(**row) for row in read_rows(artefact.folder / "pairs.parquet")]  # type: ignore[typeddict-item]
    return artefact, pairs, scores


def _dropped_side(pair: Pair) -> str:
    return pair["rejected" if pair["drop_reason"].endswith("_rejected") else "chosen"][-1]["content"]
