"""The data of both training stages: pairs, then conversations."""

from collections import Counter
from collections.abc import Sequence
from time import monotonic
from typing import Any

from character_ray.config import Recipe
from character_ray.constitution import system_prompt
from character_ray.inference.generate import Generation
from character_ray.inference.likelihood import ScoreRequest, score_completions
from character_ray.inference.self_play import DialogueRow, play
from character_ray.parts import read_rows, write_rows
from character_ray.pipeline.context import Context, Persona
from character_ray.prompts import evaluation_prompts, interaction_openings, reflection_prompts, training_prompts
from character_ray.rows import CONVERSATION, PAIR, PROMPT, Completion, Pair, Prompt, Request, content_hash
from character_ray.runs import Artefact
from character_ray.stages.distill import build_pairs, student_requests, teacher_requests, tidy
from character_ray.stages.introspect import build_conversations, dialogues, plain_rows, reflection_requests

__all__ = ["ask_student", "ask_teacher", "make_conversations", "make_pairs", "make_prompts", "reflect", "score"]

# Evaluation prompts are the same for every run of the same size, whatever its seed.
EVALUATION_SEED = 0


def make_prompts(context: Context) -> tuple[list[Prompt], list[Prompt]]:
    """Training and evaluation prompts, written out for people to read."""
    recipe = context.recipe
    evaluate = recipe.evaluate
    train = training_prompts(recipe.prompts, recipe.seed)
    held_out = evaluation_prompts(evaluate.grid, evaluate.everyday, evaluate.override_share, EVALUATION_SEED)
    ids = [[prompt["prompt_id"] for prompt in prompts] for prompts in (train, held_out)]
    artefact = context.artefact("prompts", {"train": ids[0], "evaluation": ids[1]})
    reused = artefact.is_done
    if not reused:
        write_rows(artefact.folder / "train.parquet", train, PROMPT)
        write_rows(artefact.folder / "evaluation.parquet", held_out, PROMPT)
        artefact.finish({"rows_in": len(train) + len(held_out), "rows_out": len(train) + len(held_out)})
    context.close(artefact, reused=reused)
    return train, held_out


def ask_teacher(context: Context, persona: Persona, prompts: Sequence[Prompt]) -> tuple[Artefact, list[Request]]:
    """The teacher's part of the pairs: where it goes and what is asked."""
    recipe = context.recipe
    requests = teacher_requests(prompts, persona.constitution, recipe.distill, recipe.seed)
    engine = recipe.teacher_engine or recipe.student_engine
    inputs = {
        "constitution": persona.constitution.fingerprint,
        "teacher": context.teacher.identity,
        "dtype": engine.dtype,
        "sampling": recipe.distill.teacher.model_dump(),
        "samples": recipe.distill.samples,
        **_asked(recipe, prompts),
    }
    return context.artefact(f"{persona.prefix}teacher", inputs), requests


def ask_student(context: Context, prompts: Sequence[Prompt]) -> tuple[Artefact, list[Request]]:
    """The student's part of the pairs, the same for every persona."""
    recipe = context.recipe
    requests = student_requests(prompts, recipe.distill, recipe.seed)
    inputs = {
        "student": context.student.identity,
        "dtype": recipe.student_engine.dtype,
        "sampling": recipe.distill.student.model_dump(),
        **_asked(recipe, prompts),
    }
    return context.artefact("student", inputs), requests


def score(
    context: Context, persona: Persona, name: str, sources: Sequence[Artefact], rows: Sequence[ScoreRequest]
) -> dict[str, float]:
    """Likelihood-ratio scores of completions under the persona's constitution."""
    recipe = context.recipe
    inputs = {
        "constitution": persona.constitution.fingerprint,
        "base": context.student.identity,
        "dtype": recipe.judge.dtype,
        "sources": [source.fingerprint for source in sources],
    }
    artefact = context.artefact(f"{persona.prefix}{name}", inputs)
    reused = artefact.is_done
    with artefact.claim():
        scores = score_completions(
            artefact.stage, artefact, rows, context.student.folder, system_prompt(persona.constitution), recipe.judge
        )
    context.close(artefact, reused=reused)
    return scores


def make_pairs(
    context: Context, persona: Persona, prompts: Sequence[Prompt], teacher: Generation, student: Generation
) -> tuple[Artefact, list[Pair], dict[str, float]]:
    """Score both sides, choose, filter, and write the pairs."""
    recipe = context.recipe
    texts = {prompt["prompt_id"]: prompt["prompt"] for prompt in prompts}
    completions = [*teacher.completions(), *student.completions()]
    sources = [teacher.artefact, student.artefact]
    rows = [
        _to_score(completion, texts[completion["prompt_id"]], tidy(completion, recipe.distill))
        for completion in completions
    ]
    scores = score(context, persona, "scores-pairs", sources, rows)
    inputs = {
        "sources": [source.fingerprint for source in sources],
        "judge": recipe.judge.dtype,
        "base": context.student.identity,
        "filters": recipe.distill.filters.model_dump(),
    }
    artefact = context.artefact(f"{persona.prefix}pairs", inputs)
    reused = artefact.is_done
    if not reused:
        started = monotonic()
        pairs = build_pairs(prompts, teacher.completions(), student.completions(), scores, recipe.distill)
        write_rows(artefact.folder / "pairs.parquet", pairs, PAIR)
        artefact.finish({"wall_s": monotonic() - started, **_kept(pairs)})
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


def make_conversations(
    context: Context,
    persona: Persona,
    dpo: Artefact,
    reflections: Generation,
    pairs_from: Artefact,
    pairs: Sequence[Pair],
) -> tuple[Artefact, int]:
    """Hold the self-interactions, score everything, filter, and write the conversations; also how many are kept."""
    recipe = context.recipe
    config = recipe.introspect
    talked = _interact(context, persona, dpo)
    asked = reflection_prompts(config.reflections, recipe.seed)
    written = list(zip(asked, reflections.completions(), strict=True))
    rows = [_to_score(completion, prompt.text, completion["completion"]) for prompt, completion in written]
    held = []
    if talked is not None:
        held = [(row["row_id"], row["messages"], row["error"]) for row in talked[1]]
        rows += [
            ScoreRequest(row_id=row_id, prompt=messages[-2]["content"], completion=messages[-1]["content"])
            for row_id, messages, error in held
            if not error
        ]
    sources = [reflections.artefact] + ([talked[0]] if talked else [])
    scores = score(context, persona, "scores-introspection", sources, rows)
    inputs = {
        "sources": [source.fingerprint for source in sources],
        "pairs": pairs_from.fingerprint if config.plain else "",
        "plain": config.plain,
        "judge": recipe.judge.dtype,
        "filters": config.filters.model_dump(),
        "seed": recipe.seed,
    }
    artefact = context.artefact(f"{persona.prefix}introspection", inputs)
    reused = artefact.is_done
    if not reused:
        conversations = build_conversations(written, held, scores, config.filters) + plain_rows(
            pairs, config.plain, recipe.seed
        )
        write_rows(artefact.folder / "conversations.parquet", conversations, CONVERSATION)
        artefact.finish(_kept(conversations))
    context.close(artefact, reused=reused)
    return artefact, int(artefact.summary["rows_out"])


def _interact(context: Context, persona: Persona, dpo: Artefact) -> tuple[Artefact, list[Any]] | None:
    recipe = context.recipe
    config = recipe.introspect
    if not config.interactions:
        return None
    openings = interaction_openings(config.interactions, recipe.seed)
    wanted = [DialogueRow(**row) for row in dialogues(openings, persona.constitution, config, recipe.seed)]
    inputs = {
        "constitution": persona.constitution.fingerprint,
        "dpo": dpo.fingerprint,
        "engine": [recipe.student_engine.dtype, recipe.student_engine.adapters],
        "rows": [row["row_id"] for row in wanted],
        "sampling": config.interaction_sampling.model_dump(),
    }
    artefact = context.artefact(f"{persona.prefix}interactions", inputs)
    reused = artefact.is_done
    weights = context.weights(dpo, f"{persona.prefix}dpo-folded")
    with artefact.claim():
        talked = play(artefact.stage, artefact, wanted, weights, recipe.student_engine, config.interaction_sampling)
    context.close(artefact, reused=reused)
    return artefact, talked


def _asked(recipe: Recipe, prompts: Sequence[Prompt]) -> dict[str, Any]:
    return {"prompts": [prompt["prompt_id"] for prompt in prompts], "seed": recipe.seed}


def _to_score(completion: Completion, prompt: str, text: str) -> ScoreRequest:
    return ScoreRequest(row_id=completion["row_id"], prompt=prompt, completion=text)


def _kept(rows: Sequence[Any]) -> dict[str, Any]:
    dropped = Counter(row["drop_reason"] for row in rows if row["drop_reason"])
    return {"rows_in": len(rows), "rows_out": len(rows) - dropped.total(), "dropped": dict(dropped)}
