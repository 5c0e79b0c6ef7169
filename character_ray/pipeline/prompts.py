"""The prompts of a run, written out for people to read."""

import json
from collections import Counter
from collections.abc import Sequence

from rich.markup import escape

from character_ray.constitution import load_constitution
from character_ray.log import console
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
        written: Prompts for each directive, put after the recipe's. Of what is more than ``prompts.traits`` of one, as many as were
            near-duplicates take their place, last of all.
    """
    recipe = context.recipe
    evaluate = recipe.evaluate
    held_out = evaluation_prompts(
        evaluate.grid, evaluate.everyday, evaluate.override_share, EVALUATION_SEED, evaluate.languages
    )
    own = training_prompts(recipe.prompts, recipe.seed) if recipe.distill.pairs is None else brought_prompts(context)
    of_directives, surplus = _split(written, recipe.prompts.traits)
    wanted = [*own, *of_directives]
    untouchable = [prompt["prompt"] for prompt in held_out]
    untouchable += [probe.prompt["prompt"] for persona in personas for probe in persona.probes]
    untouchable += [each.prompt for persona in personas for each in asked_challenges(recipe, persona)]
    threshold = recipe.prompts.max_similarity
    train, repeated = drop_near_duplicates(wanted, untouchable, threshold)
    missing = Counter(prompt["directive"] for prompt, _ in repeated if prompt["source"] == "trait")
    instead = _split(_further(train, surplus, missing, untouchable, threshold), missing)[0]
    train += instead
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
                    "rows_in": len(wanted) + len(instead) + len(held_out),
                    "rows_out": len(train) + len(held_out),
                    "dropped": {"near_duplicate": len(repeated)} if repeated else {},
                }
            )
    context.close(artefact, reused=reused)
    missing -= Counter(prompt["directive"] for prompt in instead)
    if missing and not reused:
        told = escape("; ".join(f"{directive!r} {number:,}" for directive, number in missing.items()))
        console.print(
            f"[yellow]warning[/]: {missing.total():,} prompts written for directives repeat others or the evaluation's, and no more "
            f"lines were written that could take their place: {told}. prompts/near_duplicates.jsonl names them."
        )
    return train, held_out


def _split(written: Sequence[Prompt], wanted: int | Counter[str]) -> tuple[list[Prompt], list[Prompt]]:
    """The first of each directive, as many as are wanted of it, and the others."""
    parts: tuple[list[Prompt], list[Prompt]] = ([], [])
    seen: Counter[str] = Counter()
    for prompt in written:
        directive = prompt["directive"]
        seen[directive] += 1
        parts[seen[directive] > (wanted if isinstance(wanted, int) else wanted[directive])].append(prompt)
    return parts


def _further(
    train: Sequence[Prompt],
    surplus: Sequence[Prompt],
    missing: Counter[str],
    untouchable: Sequence[str],
    threshold: float,
) -> list[Prompt]:
    """The surplus prompts of directives that miss some which are no near-duplicates either."""
    candidates = [prompt for prompt in surplus if missing[prompt["directive"]]]
    if not candidates:
        return []
    return drop_near_duplicates([*train, *candidates], untouchable, threshold)[0][len(train) :]
