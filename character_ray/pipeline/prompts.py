"""The prompts of a run, written out for people to read."""

import json
from collections.abc import Sequence

from character_ray.constitution import load_constitution
from character_ray.parts import write_rows
from character_ray.pipeline.answers import asked_challenges
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.imported import brought_prompts
from character_ray.prompts import coverage, drop_near_duplicates, evaluation_prompts, training_prompts
from character_ray.rows import PROMPT, Prompt, content_hash

__all__ = ["make_prompts"]

# Evaluation prompts are the same for every run of the same size, whatever its seed.
EVALUATION_SEED = 0


def make_prompts(
    context: Context, personas: Sequence[Persona], written: Sequence[Prompt] = ()
) -> tuple[list[Prompt], list[Prompt]]:
    """Training prompts, free of near-duplicates and of what the evaluation asks, and the evaluation's prompts.

    Args:
        context: The run.
        personas: Whose probes and challenges nothing may be trained on.
        written: Prompts of the persona's own, put after the recipe's.
    """
    recipe = context.recipe
    evaluate = recipe.evaluate
    held_out = evaluation_prompts(
        evaluate.grid, evaluate.everyday, evaluate.override_share, EVALUATION_SEED, evaluate.languages
    )
    own = training_prompts(recipe.prompts, recipe.seed) if recipe.distill.pairs is None else brought_prompts(context)
    wanted = [*own, *written]
    untouchable = [prompt["prompt"] for prompt in held_out]
    untouchable += [probe.prompt["prompt"] for persona in personas for probe in persona.probes]
    untouchable += [each.prompt for persona in personas for each in asked_challenges(recipe, persona)]
    train, repeated = drop_near_duplicates(wanted, untouchable, recipe.prompts.max_similarity)
    ids = [[prompt["prompt_id"] for prompt in prompts] for prompts in (train, held_out)]
    directives = load_constitution(recipe.constitution).directives.all
    inputs = {"train": ids[0], "evaluation": ids[1], "repeated": len(repeated), "directives": content_hash(directives)}
    artefact = context.artefact("prompts", inputs)
    reused = artefact.is_done
    with artefact.making() as to_make:
        if to_make:
            write_rows(artefact.folder / "train.parquet", train, PROMPT)
            write_rows(artefact.folder / "evaluation.parquet", held_out, PROMPT)
            covered = {
                name: [each.model_dump() for each in counts]
                for name, counts in (("train", coverage(train, directives)), ("evaluation", coverage(held_out)))
            }
            (artefact.folder / "coverage.json").write_text(json.dumps(covered, indent=1) + "\n", encoding="utf-8")
            with (artefact.folder / "near_duplicates.jsonl").open("w", encoding="utf-8") as lines:
                for prompt, twin in repeated:
                    lines.write(json.dumps({"prompt": prompt["prompt"], "repeats": twin}, ensure_ascii=False) + "\n")
            artefact.finish(
                {
                    "rows_in": len(wanted) + len(held_out),
                    "rows_out": len(train) + len(held_out),
                    "dropped": {"near_duplicate": len(repeated)} if repeated else {},
                }
            )
    context.close(artefact, reused=reused)
    return train, held_out
