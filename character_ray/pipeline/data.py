"""What is asked for the data of both training stages, and the conversations."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from character_ray.config import Recipe
from character_ray.constitution import Constitution, system_prompt
from character_ray.inference.likelihood import ScoreRequest
from character_ray.inference.passes import Generation, SelfInteraction
from character_ray.parts import write_rows
from character_ray.pipeline.context import Context, Persona, Wanted
from character_ray.pipeline.scores import check_dropped, count_kept, score, to_score
from character_ray.prompts import interaction_openings, reflection_prompts
from character_ray.rows import CONVERSATION, Conversation, Pair, Prompt, Talk, content_hash
from character_ray.runs import Artefact
from character_ray.spoken import END_OF_THOUGHT
from character_ray.stages.distill import opposite_requests, student_requests, teacher_requests, tidy
from character_ray.stages.introspect import build_conversations, dialogues, plain_rows, reflection_requests
from character_ray.stages.lessons import Lesson, lesson_requests, plan_lessons
from character_ray.stages.thoughts import check_first_thoughts

__all__ = [
    "ask_lessons",
    "ask_opposite",
    "ask_parent",
    "ask_student",
    "ask_teacher",
    "interact",
    "make_conversations",
    "reflect",
]


def ask_teacher(context: Context, persona: Persona, prompts: Sequence[Prompt]) -> Wanted:
    """The teacher's part of the pairs; where thinking is begun for it, it is watched whether that ends."""
    recipe = context.recipe
    requests = teacher_requests(prompts, persona.constitution, recipe.distill, recipe.seed)
    inputs = _asked_teacher(context, persona.constitution, prompts) | {"samples": recipe.distill.samples}
    watch = partial(check_first_thoughts, config=recipe.distill) if recipe.distill.think_prefill else None
    return Wanted(context.artefact(f"{persona.prefix}teacher", inputs), requests, watch)


def ask_opposite(context: Context, persona: Persona, opposite: Constitution, prompts: Sequence[Prompt]) -> Wanted:
    """The rejected side of the paired contrast: where it goes and what the teacher is asked in the opposite character."""
    recipe = context.recipe
    requests = opposite_requests(prompts, opposite, recipe.distill, recipe.seed)
    return Wanted(context.artefact(f"{persona.prefix}opposite", _asked_teacher(context, opposite, prompts)), requests)


def ask_student(context: Context, prompts: Sequence[Prompt]) -> Wanted:
    """The student's part of the pairs, the same for every persona."""
    recipe = context.recipe
    requests = student_requests(prompts, recipe.distill, recipe.seed)
    return Wanted(context.artefact("student", _asked_student(context) | _asked(recipe, prompts)), requests)


def ask_lessons(
    context: Context, persona: Persona, prompts: Sequence[Prompt], lessons: Sequence[Lesson] | None = None
) -> tuple[Wanted, Wanted] | None:
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
    return Wanted(of_teacher, by_teacher), Wanted(of_student, by_student)


def ask_parent(context: Context, prompts: Sequence[Prompt]) -> Wanted:
    """The rejected side of the on-policy contrast: what the student is asked, asked of the student with its parent adapter."""
    recipe = context.recipe
    assert context.parent is not None
    requests = student_requests(prompts, recipe.distill, recipe.seed)
    inputs = _asked_student(context) | _asked(recipe, prompts) | {"parent": context.parent.weights_hash}
    return Wanted(context.artefact("on-policy", inputs), requests)


def reflect(context: Context, persona: Persona, dpo: Artefact) -> Wanted:
    """The reflections: where they go and what is asked."""
    recipe = context.recipe
    config = recipe.introspect
    requests = reflection_requests(
        reflection_prompts(config.reflections, recipe.seed), persona.constitution, config, recipe.seed
    )
    inputs = {
        "constitution": persona.constitution.fingerprint,
        "dpo": dpo.fingerprint,
        "engine": [recipe.student_engine.numerics, recipe.student_engine.adapters],
        "rows": content_hash([request["row_id"] for request in requests]),
        "sampling": config.reflection_sampling.model_dump(),
        "seed": recipe.seed,
    }
    return Wanted(context.artefact(f"{persona.prefix}reflections", inputs), requests)


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
        "engine": [recipe.student_engine.numerics, recipe.student_engine.adapters],
        "rows": [row["row_id"] for row in wanted],
        "sampling": config.interaction_sampling.model_dump(),
        "turns": "whole sentences",
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
    """Score reflections and self-interactions, filter, and write the conversations; also how many are kept.

    Raises:
        GenerationError: More of them are dropped than ``introspect.max_dropped_share`` allows.
    """
    recipe = context.recipe
    config, filters = recipe.introspect, persona.filters(recipe.introspect.filters)
    asked = reflection_prompts(config.reflections, recipe.seed)
    written = list(zip(asked, reflections.completions(), strict=True))
    rows = [to_score(completion, prompt.text, tidy(completion, filters)) for prompt, completion in written]
    held = interactions.talks() if interactions else []
    rows += [_last_exchange(talk) for talk in held if not (talk["error"] or talk["drop_reason"])]
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
        # They were trained on once.
        **({"thoughts": "left out"} if any(END_OF_THOUGHT in row["completion"] for _, row in written) else {}),
    }
    artefact = context.artefact(f"{persona.prefix}introspection", inputs)
    reused = artefact.is_done
    with artefact.making() as to_make:
        if to_make:
            kept = system_prompt(persona.constitution) if config.system_prompt == "kept" else ""
            conversations = build_conversations(written, held, scores, filters, kept)
            plain = plain_rows(pairs, config.plain, recipe.seed)
            conversations += plain
            write_rows(artefact.folder / "conversations.parquet", conversations, CONVERSATION)
            artefact.finish(count_kept(conversations, _last_turn) | {"plain": len(plain)})
    context.close(artefact, reused=reused)
    check_dropped(artefact, "introspect", config.max_dropped_share)
    return artefact, int(artefact.summary["rows_out"])


def _asked_teacher(context: Context, constitution: Constitution, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """What decides the teacher's completions, as inputs of a stage."""
    recipe = context.recipe
    return {
        "constitution": constitution.fingerprint,
        "teacher": context.teacher.identity,
        "dtype": recipe.teacher_numerics,
        "sampling": recipe.distill.teacher.model_dump(),
        **({"think_prefill": recipe.distill.think_prefill} if recipe.distill.think_prefill else {}),
        **_asked(recipe, prompts),
    }


def _asked_student(context: Context) -> dict[str, Any]:
    """What decides the student's completions, beside what is asked."""
    recipe = context.recipe
    return {
        "student": context.student.identity,
        "dtype": recipe.student_engine.numerics,
        "sampling": recipe.distill.student.model_dump(),
    }


def _asked(recipe: Recipe, prompts: Sequence[Prompt]) -> dict[str, Any]:
    return {"prompts": [prompt["prompt_id"] for prompt in prompts], "seed": recipe.seed}


def _last_exchange(talk: Talk) -> ScoreRequest:
    said, answer = (turn["content"] for turn in talk["messages"][-2:])
    return ScoreRequest(row_id=talk["row_id"], prompt=said, completion=answer)


def _last_turn(conversation: Conversation) -> str:
    return conversation["messages"][-1]["content"]
