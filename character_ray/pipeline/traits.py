"""Prompts about each directive of a persona, written by the teacher before anything else is asked."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
from rich.markup import escape

from character_ray.inference.passes import Generation
from character_ray.log import console
from character_ray.parts import read_rows, write_rows
from character_ray.pipeline.context import Context, Persona
from character_ray.rows import Prompt
from character_ray.stages.traits import (
    TraitPrompt,
    as_prompts,
    choose_traits,
    count_prompts,
    trait_requests,
    unprompted,
)

__all__ = ["write_trait_prompts"]

TRAIT_PROMPT = pa.schema({name: pa.string() for name in TraitPrompt.__annotations__})


def write_trait_prompts(contexts: Sequence[Context], personas: Sequence[Persona]) -> list[list[Prompt]]:
    """The prompts of every run, those that are more than was wanted last, in one engine pass; all empty when the recipe asks for none.

    Args:
        contexts: The runs, of one recipe whose seeds and constitutions may differ.
        personas: The character of each.
    """
    recipe = contexts[0].recipe
    wanted = recipe.prompts.traits
    if not wanted:
        return [[] for _ in personas]
    asked = []
    for context, persona in zip(contexts, personas, strict=True):
        requests = trait_requests(persona.constitution, recipe.prompts, context.recipe.seed)
        inputs = {
            "constitution": persona.constitution.fingerprint,
            "teacher": context.teacher.identity,
            "dtype": recipe.teacher_numerics,
            "per_directive": wanted,
            "rows": [request["row_id"] for request in requests],
        }
        asked.append(Generation(context.artefact("trait-requests", inputs), requests))
    reused = [generation.artefact.is_done for generation in asked]
    contexts[0].teach("trait prompts", asked)
    prompts = []
    for context, persona, generation, before in zip(contexts, personas, asked, reused, strict=True):
        context.close(generation.artefact, reused=before)
        prompts.append(_choose(context, persona, generation))
    return prompts


def _choose(context: Context, persona: Persona, generation: Generation) -> list[Prompt]:
    config, constitution = context.recipe.prompts, persona.constitution
    inputs = {
        "requests": generation.artefact.fingerprint,
        "per_directive": config.traits,
        # The first of them was taken for what is asked.
        "thoughts": "left out",
    }
    artefact = context.artefact("trait-prompts", inputs)
    reused = artefact.is_done
    with artefact.making() as to_make:
        if to_make:
            rows = choose_traits(constitution, generation.spoken(), config.traits)
            write_rows(artefact.folder / "prompts.parquet", rows, TRAIT_PROMPT)
            dropped = Counter(row["drop_reason"] for row in rows if row["drop_reason"])
            artefact.finish(
                {
                    "rows_in": len(rows),
                    "rows_out": len(rows) - dropped.total(),
                    "dropped": dict(dropped),
                    "drop_examples": {
                        row["drop_reason"]: row["prompt"] for row in reversed(rows) if row["drop_reason"]
                    },
                    "by_directive": count_prompts(constitution, rows),
                }
            )
    context.close(artefact, reused=reused)
    rows = [TraitPrompt(**row) for row in read_rows(artefact.folder / "prompts.parquet")]  # type: ignore[typeddict-item]
    if missing := unprompted(constitution, rows, config):
        console.print(f"[yellow]warning[/]: {artefact.stage} of {escape(f'{constitution.meta.name}: {missing}')}")
    return as_prompts(rows) + as_prompts(rows, surplus=True)
