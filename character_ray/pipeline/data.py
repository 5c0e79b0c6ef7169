"""The data of both training stages: pairs, then conversations."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from character_ray.config import Recipe
from character_ray.constitution import Constitution, system_prompt
from character_ray.inference.likelihood import ScoreRequest
from character_ray.inference.passes import Generation, SelfInteraction
from character_ray.inference.score_sheets import Sheet, read_sheet, score_sheets
from character_ray.parts import read_rows, write_rows
from character_ray.pipeline.context import Context, Persona
from character_ray.prompts import interaction_openings, reflection_prompts
from character_ray.rows import CONVERSATION, PAIR, Completion, Conversation, Pair, Prompt, Request, Talk, content_hash
from character_ray.runs import Artefact
from character_ray.stages.distill import build_pairs, opposite_requests, student_requests, teacher_requests, tidy
from character_ray.stages.introspect import build_conversations, dialogues, plain_rows, reflection_requests
from character_ray.stages.lessons import Lesson, count_directives, lesson_pairs, lesson_requests, plan_lessons
from character_ray.stages.repetition import repetition_pairs
from character_ray.stages.thoughts import check_thoughts

__all__ = [
    "PairSides",
    "ask_lessons",
    "ask_opposite",
    "ask_parent",
    "ask_student",
    "ask_teacher",
    "interact",
    "make_conversations",
    "make_pairs",
    "pairs_sheet",
    "reflect",
    "score",
    "score_all",
    "sheet_of",
]

LONGEST_EXAMPLE = 400  # characters of a dropped text shown in the report


def ask_teacher(context: Context, persona: Persona, prompts: Sequence[Prompt]) -> tuple[Artefact, list[Request]]:
    """The teacher's part of the pairs: where it goes and what is asked."""
    recipe = context.recipe
    requests = teacher_requests(prompts, persona.constitution, recipe.distill, recipe.seed)
    inputs = _asked_teacher(context, persona.constitution, prompts) | {"samples": recipe.distill.samples}
    return context.artefact(f"{persona.prefix}teacher", inputs), requests


def ask_opposite(
    context: Context, persona: Persona, opposite: Constitution, prompts: Sequence[Prompt]
) -> tuple[Artefact, list[Request]]:
    """The rejected side of the paired contrast: where it goes and what the teacher is asked in the opposite character."""
    recipe = context.recipe
    requests = opposite_requests(prompts, opposite, recipe.distill, recipe.seed)
    return context.artefact(f"{persona.prefix}opposite", _asked_teacher(context, opposite, prompts)), requests


def ask_student(context: Context, prompts: Sequence[Prompt]) -> tuple[Artefact, list[Request]]:
    """The student's part of the pairs, the same for every persona."""
    recipe = context.recipe
    requests = student_requests(prompts, recipe.distill, recipe.seed)
    return context.artefact("student", _asked_student(context) | _asked(recipe, prompts)), requests


def ask_lessons(
    context: Context, persona: Persona, prompts: Sequence[Prompt], lessons: Sequence[Lesson] | None = None
) -> tuple[tuple[Artefact, list[Request]], tuple[Artefact, list[Request]]] | None:
    """What the lessons ask of the teacher and of the student; ``None`` when the recipe or the constitution has none.

    Without ``lessons`` they are all that the recipe plans.
    """
    recipe = context.recipe
    if lessons is None:
        lessons = plan_lessons(prompts, persona.constitution, recipe.distill)
    if not lessons:
        return None
    by_teacher, by_student = lesson_requests(lessons, persona.constitution, recipe.distill, recipe.seed)
    asked = {"rows": content_hash([request["row_id"] for request in by_teacher])}
    of_teacher = context.artefact(
        f"{persona.prefix}lessons", _asked_teacher(context, persona.constitution, prompts) | asked
    )
    asked = {"rows": content_hash([request["row_id"] for request in by_student])}
    of_student = context.artefact(f"{persona.prefix}lessons-student", _asked_student(context) | asked)
    return (of_teacher, by_teacher), (of_student, by_student)


def ask_parent(context: Context, prompts: Sequence[Prompt]) -> tuple[Artefact, list[Request]]:
    """The rejected side of the on-policy contrast: what the student is asked, asked of the student with its parent adapter."""
    recipe = context.recipe
    assert context.parent is not None
    requests = student_requests(prompts, recipe.distill, recipe.seed)
    inputs = _asked_student(context) | _asked(recipe, prompts) | {"parent": context.parent.weights_hash}
    return context.artefact("on-policy", inputs), requests


def score(context: Context, persona: Persona, name: str, rows: Sequence[ScoreRequest]) -> dict[str, float]:
    """Likelihood-ratio scores of completions under the persona's constitution."""
    return score_all(context, [sheet_of(context, persona, name, rows)])[0]


def sheet_of(context: Context, persona: Persona, name: str, rows: Sequence[ScoreRequest]) -> Sheet:
    """Completions to score under the persona's constitution, as a stage of this name."""
    inputs = {
        "constitution": persona.constitution.fingerprint,
        "base": context.student.identity,
        "dtype": context.recipe.judge.dtype,
        "rows": content_hash(list(rows)),
    }
    return Sheet(context.artefact(f"{persona.prefix}{name}", inputs), rows, system_prompt(persona.constitution))


def score_all(context: Context, sheets: Sequence[Sheet]) -> list[dict[str, float]]:
    """Scores of every sheet by row id; those that wait share a start of the judges."""
    base, judge = context.student.folder, context.recipe.judge
    reused = [sheet.artefact.is_done for sheet in sheets]
    waiting = [sheet for sheet, done in zip(sheets, reused, strict=True) if not done]
    if len(waiting) > 1:
        score_sheets(", ".join(sheet.artefact.stage for sheet in waiting), waiting, base, judge)
    found = []
    for sheet, done in zip(sheets, reused, strict=True):
        found.append(read_sheet(sheet, base, judge))
        context.close(sheet.artefact, reused=done)
    return found


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


def pairs_sheet(context: Context, persona: Persona, prompts: Sequence[Prompt], sides: PairSides) -> Sheet:
    """What :func:`make_pairs` of the same arguments has scored.

    Raises:
        CharacterRayError: The teacher's thoughts are not what the recipe asks for.
    """
    recipe = context.recipe
    check_thoughts(sides.teacher.completions(), recipe.distill)
    texts = {prompt["prompt_id"]: prompt["prompt"] for prompt in prompts}
    planned = plan_lessons(prompts, persona.constitution, recipe.distill)
    texts |= {f"{lesson.lesson_id}-{side}": lesson.prompt for lesson in planned for side in ("chosen", "rejected")}
    rows = [
        _to_score(completion, texts[completion["prompt_id"]], tidy(completion, recipe.distill))
        for side in sides.every
        for completion in side.completions()
    ]
    return sheet_of(context, persona, "scores-pairs", rows)


def make_pairs(
    context: Context, persona: Persona, prompts: Sequence[Prompt], sides: PairSides
) -> tuple[Artefact, list[Pair], dict[str, float]]:
    """Score every side (:func:`pairs_sheet`), choose, filter, and write the pairs; also the scores by row id."""
    recipe = context.recipe
    scores = score_all(context, [pairs_sheet(context, persona, prompts, sides)])[0]
    teacher, rejected, lessons = sides.teacher, sides.other or sides.student, sides.lessons
    distill = recipe.distill.model_copy(update={"filters": persona.filters(recipe.distill.filters)})
    planned = plan_lessons(prompts, persona.constitution, recipe.distill)
    inputs = {
        "sources": [side.artefact.fingerprint for side in sides.every],
        "judge": recipe.judge.dtype,
        "base": context.student.identity,
        "filters": distill.filters.model_dump(),
        **({"repetition": recipe.distill.lessons.repetition} if recipe.distill.lessons.repetition else {}),
    }
    artefact = context.artefact(f"{persona.prefix}pairs", inputs)
    reused = artefact.is_done
    with artefact.making() as to_make:
        if to_make:
            started = monotonic()
            pairs = build_pairs(prompts, teacher.completions(), rejected.completions(), scores, distill)
            pairs += repetition_pairs(pairs, teacher.completions(), scores, distill)
            if lessons:
                written = [completion for side in lessons for completion in side.completions()]
                pairs += lesson_pairs(planned, written, scores, distill)
            write_rows(artefact.folder / "pairs.parquet", pairs, PAIR)
            counts = {**_kept(pairs, _dropped_side), "by_directive": count_directives(pairs)}
            artefact.finish({"wall_s": monotonic() - started, **counts})
    context.close(artefact, reused=reused)
    pairs = [Pair(**row) for row in read_rows(artefact.folder / "pairs.parquet")]  # type: ignore[typeddict-item]
    return artefact, pairs, scores


def reflect(context: Context, persona: Persona, dpo: Artefact) -> tuple[Artefact, list[Request]]:
    """The reflections: where they go and what is asked."""
    recipe = context.recipe
    config = recipe.introspect
    requests = reflection_requests(
        reflection_prompts(config.reflections, recipe.seed), persona.constitution, config, recipe.seed
    )
    inputs = {
        "constitution": persona.constitution.fingerprint,
        "dpo": dpo.fingerprint,
        "engine": [recipe.student_engine.dtype, recipe.student_engine.adapters],
        "rows": content_hash([request["row_id"] for request in requests]),
        "sampling": config.reflection_sampling.model_dump(),
        "seed": recipe.seed,
    }
    return context.artefact(f"{persona.prefix}reflections", inputs), requests


def interact(context: Context, persona: Persona, dpo: Artefact) -> SelfInteraction | None:
    """The self-interactions: where they go and what is said first; ``None`` when the recipe asks for none."""
    recipe = context.recipe
    config = recipe.introspect
    if not config.interactions:
        return None
    openings = interaction_openings(config.interactions, recipe.seed)
    wanted = dialogues(openings, persona.constitution, config, recipe.seed)
    inputs = {
        "constitution": persona.constitution.fingerprint,
        "dpo": dpo.fingerprint,
        "engine": [recipe.student_engine.dtype, recipe.student_engine.adapters],
        "rows": [row["row_id"] for row in wanted],
        "sampling": config.interaction_sampling.model_dump(),
    }
    return SelfInteraction(context.artefact(f"{persona.prefix}interactions", inputs), wanted)


def make_conversations(
    context: Context,
    persona: Persona,
    reflections: Generation,
    interactions: SelfInteraction | None,
    pairs_from: Artefact,
    pairs: Sequence[Pair],
) -> tuple[Artefact, int]:
    """Score reflections and self-interactions, filter, and write the conversations; also how many are kept."""
    recipe = context.recipe
    config, filters = recipe.introspect, persona.filters(recipe.introspect.filters)
    asked = reflection_prompts(config.reflections, recipe.seed)
    written = list(zip(asked, reflections.completions(), strict=True))
    rows = [_to_score(completion, prompt.text, completion["completion"]) for prompt, completion in written]
    held = interactions.talks() if interactions else []
    rows += [_last_exchange(talk) for talk in held if not talk["error"]]
    sources = [each.artefact for each in (reflections, interactions) if each]
    scores = score(context, persona, "scores-introspection", rows)
    inputs = {
        "sources": [source.fingerprint for source in sources],
        "pairs": pairs_from.fingerprint if config.plain else "",
        "plain": config.plain,
        "judge": recipe.judge.dtype,
        "filters": filters.model_dump(),
        "system_prompt": config.system_prompt,
        "seed": recipe.seed,
    }
    artefact = context.artefact(f"{persona.prefix}introspection", inputs)
    reused = artefact.is_done
    with artefact.making() as to_make:
        if to_make:
            kept = system_prompt(persona.constitution) if config.system_prompt == "kept" else ""
            conversations = build_conversations(written, held, scores, filters, kept)
            conversations += plain_rows(pairs, config.plain, recipe.seed)
            write_rows(artefact.folder / "conversations.parquet", conversations, CONVERSATION)
            artefact.finish(_kept(conversations, _last_turn))
    context.close(artefact, reused=reused)
    return artefact, int(artefact.summary["rows_out"])


def _asked_teacher(context: Context, constitution: Constitution, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """What decides the teacher's completions, as inputs of a stage."""
    recipe = context.recipe
    return {
        "constitution": constitution.fingerprint,
        "teacher": context.teacher.identity,
        "dtype": recipe.teacher_dtype,
        "sampling": recipe.distill.teacher.model_dump(),
        **({"think_prefill": recipe.distill.think_prefill} if recipe.distill.think_prefill else {}),
        **_asked(recipe, prompts),
    }


def _asked_student(context: Context) -> dict[str, Any]:
    """What decides the student's completions, beside what is asked."""
    recipe = context.recipe
    return {
        "student": context.student.identity,
        "dtype": recipe.student_engine.dtype,
        "sampling": recipe.distill.student.model_dump(),
    }


def _asked(recipe: Recipe, prompts: Sequence[Prompt]) -> dict[str, Any]:
    return {"prompts": [prompt["prompt_id"] for prompt in prompts], "seed": recipe.seed}


def _to_score(completion: Completion, prompt: str, text: str) -> ScoreRequest:
    return ScoreRequest(row_id=completion["row_id"], prompt=prompt, completion=text)


def _last_exchange(talk: Talk) -> ScoreRequest:
    said, answer = (turn["content"] for turn in talk["messages"][-2:])
    return ScoreRequest(row_id=talk["row_id"], prompt=said, completion=answer)


def _kept(rows: Sequence[Any], text_of: Callable[[Any], str]) -> dict[str, Any]:
    """How many rows are kept, and for every reason that dropped one their number and a text it dropped."""
    dropped = Counter(row["drop_reason"] for row in rows if row["drop_reason"])
    examples = {row["drop_reason"]: text_of(row)[:LONGEST_EXAMPLE] for row in reversed(rows) if row["drop_reason"]}
    counts = {"rows_in": len(rows), "rows_out": len(rows) - dropped.total(), "dropped": dict(dropped)}
    return counts | {"drop_examples": examples}


def _dropped_side(pair: Pair) -> str:
    return pair["rejected" if pair["drop_reason"].endswith("_rejected") else "chosen"][-1]["content"]


def _last_turn(conversation: Conversation) -> str:
    return conversation["messages"][-1]["content"]
