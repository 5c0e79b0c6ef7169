"""Training data that was generated elsewhere, taken in where a run would generate its own.

    distill.pairs            -> prompts, teacher (chosen), student (rejected)
    introspect.conversations -> scores-introspection -> introspection/conversations.parquet

What the file's teacher and student said lies in the stages that ours would lie in, so the judge's threshold, audits and tournaments read
it as they read any run's.
"""

from collections.abc import Sequence

from character_ray.inference.likelihood import ScoreRequest
from character_ray.migration import load_conversations, load_pairs
from character_ray.parts import write_rows
from character_ray.pipeline.answers import Exam
from character_ray.pipeline.context import Context, Persona, Wanted
from character_ray.pipeline.scores import check_dropped, count_kept, score
from character_ray.prompts import near_held_out
from character_ray.rows import COMPLETION, CONVERSATION, Conversation, Pair, Prompt, Request, content_hash
from character_ray.runs import Artefact
from character_ray.stages.imported import (
    Side,
    completions_of,
    filter_conversations,
    prompts_of,
    without_system,
)
from character_ray.stages.introspect import plain_rows

__all__ = ["brought_pairs", "brought_prompts", "brought_side", "take_conversations"]


def brought_prompts(context: Context) -> list[Prompt]:
    """The prompts of the recipe's pairs.

    Raises:
        RecipeError: There is no such file, or it does not hold pairs.
    """
    assert context.recipe.distill.pairs is not None
    return prompts_of(load_pairs(context.recipe.distill.pairs.path))


def brought_pairs(context: Context, prompts: Sequence[Prompt]) -> list[Pair]:
    """The recipe's pairs about these prompts."""
    assert context.recipe.distill.pairs is not None
    wanted = {prompt["prompt_id"] for prompt in prompts}
    return [pair for pair in load_pairs(context.recipe.distill.pairs.path) if pair["prompt_id"] in wanted]


def brought_side(context: Context, prompts: Sequence[Prompt], side: Side) -> Wanted:
    """What the file's teacher or student said, as a stage that asks nothing any more."""
    completions = completions_of(brought_pairs(context, prompts), side)
    stage = "teacher" if side == "chosen" else "student"
    artefact = context.artefact(stage, {"imported": content_hash(completions)})
    with artefact.making() as to_make:
        if to_make:
            write_rows(artefact.folder / "part-00000.parquet", completions, COMPLETION)
    answered = [
        Request(row_id=row["row_id"], prompt_id=row["prompt_id"], sample=row["sample"], messages=[], sampling={})
        for row in completions
    ]
    return Wanted(artefact, answered)


def take_conversations(
    context: Context, persona: Persona, exam: Exam, pairs_from: Artefact, pairs: Sequence[Pair]
) -> Artefact:
    """Score, filter and write the recipe's conversations, with pairs mixed in as for a run's own.

    Raises:
        RecipeError: There is no such file, or it does not hold conversations.
        GenerationError: More of them are dropped than ``introspect.max_dropped_share`` allows.
    """
    recipe = context.recipe
    config, filters = recipe.introspect, persona.filters(recipe.introspect.filters)
    assert config.conversations is not None
    rows = load_conversations(config.conversations.path)
    if config.system_prompt == "dropped":
        rows = [without_system(row) for row in rows]
    scores = score(context, persona, "scores-introspection", [_last_exchange(row) for row in rows])
    held_out = [prompt["prompt"] for prompt, _ in exam.questions] + [each.prompt for each in exam.challenges]
    asked = [row["messages"][0]["content"] for row in rows if row["kind"] == "reflection"]
    near = near_held_out(asked, held_out, recipe.prompts.max_similarity)
    inputs = {
        "imported": content_hash([(row["row_id"], row["drop_reason"]) for row in rows]),
        "system_prompt": config.system_prompt,
        "near_held_out": sorted(near),
        "pairs": pairs_from.fingerprint if config.plain else "",
        "plain": config.plain,
        "judge": recipe.judge.dtype,
        "filters": filters.model_dump(),
        "constitution": persona.constitution.fingerprint,
        "base": context.student.identity,
        "seed": recipe.seed,
    }
    artefact = context.artefact("introspection", inputs)
    reused = artefact.is_done
    with artefact.making() as to_make:
        if to_make:
            conversations = filter_conversations(rows, scores, filters, near)
            plain = plain_rows(pairs, config.plain, recipe.seed)
            conversations += plain
            write_rows(artefact.folder / "conversations.parquet", conversations, CONVERSATION)
            counts = count_kept(conversations, lambda row: row["messages"][-1]["content"])
            artefact.finish(counts | {"plain": len(plain)})
    context.close(artefact, reused=reused)
    check_dropped(artefact, "introspect", config.max_dropped_share)
    return artefact


def _last_exchange(row: Conversation) -> ScoreRequest:
    said, answer = (turn["content"] for turn in row["messages"][-2:])
    return ScoreRequest(row_id=row["row_id"], prompt=said, completion=answer)
