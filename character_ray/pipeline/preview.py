"""A few pairs, side by side, before a run is paid for."""

import statistics
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from character_ray.config import Recipe
from character_ray.constitution import vocabulary_pattern
from character_ray.judging.threshold import fit_threshold
from character_ray.log import console
from character_ray.pipeline.base_pass import base_pass, base_work
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.personas import load_persona
from character_ray.pipeline.prompts import make_prompts
from character_ray.pipeline.ray_session import ray_session
from character_ray.pipeline.run import pair_up
from character_ray.pipeline.traits import write_trait_prompts
from character_ray.rows import Pair

__all__ = ["pairs_table", "preview_pairs", "whom_rejected"]

# Below this share of pairs whose chosen side beats the rejected one, a student would learn noise.
LEAST_WON, LEAST_CONTRAST = 0.8, 0.2


def preview_pairs(recipe: Recipe, num: int) -> None:
    """Generate, score and show ``num`` pairs; warn when the teacher does not hold the persona."""
    persona = load_persona(recipe)
    # What is dropped, and why, is among what it shows.
    recipe = recipe.model_copy(update={"distill": recipe.distill.model_copy(update={"max_dropped_share": 1.0})})
    context = Context.open(recipe.model_copy(update={"name": f"{recipe.name}-preview"}))
    with ray_session(recipe, does=()), context.held:
        every, _ = make_prompts(context, [persona], write_trait_prompts([context], [persona])[0])
        prompts = every[:: max(len(every) // num, 1)][:num]
        base = base_pass(context, base_work(context, [persona], prompts))
        teacher, student = base.teachers[""], base.student
        _, pairs, scores = pair_up(context, persona, prompts, base)
    console.print(pairs_table(pairs, whom_rejected(recipe, persona)))
    # Both sides of a lesson may be in the same voice: the contrast is that of the other pairs.
    voiced = [pair for pair in pairs if pair["kind"] == "contrast"]
    contrasts = [pair["chosen_score"] - pair["rejected_score"] for pair in voiced]
    won = sum(contrast > 0 for contrast in contrasts) / len(contrasts)
    median = statistics.median(contrasts)
    pattern = vocabulary_pattern(persona.constitution)
    spoken = (
        f"{sum(bool(pattern.search(p['chosen'][0]['content'])) for p in voiced) / len(voiced):.0%}"
        if pattern
        else "no vocabulary"
    )
    threshold = fit_threshold(
        [scores[row["row_id"]] for row in teacher.completions()],
        [scores[row["row_id"]] for row in student.completions()],
    )
    console.print(
        f"contrast: median {median:+.2f} nats per token, {won:.0%} of pairs above 0, AUC {threshold.auc:.2f}; own vocabulary: {spoken}"
    )
    if won < LEAST_WON or median < LEAST_CONTRAST:
        who = escape(f"teacher {recipe.teacher.name} does not hold {persona.constitution.meta.name}")
        console.print(
            f"[yellow]warning[/]: {who}. Add examples in its own words to the constitution, raise distill.samples, or use a larger teacher."
        )


def whom_rejected(recipe: Recipe, persona: Persona) -> str:
    """Who wrote the rejected side of the pairs about the voice."""
    if persona.opposite is not None:
        return "opposite"
    if recipe.distill.parent is not None:
        return "parent adapter"
    return "imported answers" if recipe.distill.pairs is not None else "student"


def pairs_table(pairs: Sequence[Pair], against: str) -> Table:
    """Every pair as it was written, brackets and all, with what it teaches and why it is dropped."""
    table = Table("prompt", "chosen (teacher)", "rejected", "teaches", "contrast", "dropped", show_lines=True)
    for pair in pairs:
        texts = (Text(pair[side][0]["content"]) for side in ("prompt", "chosen", "rejected"))
        teaches = f"the voice, against the {against}" if pair["kind"] == "contrast" else pair["kind"].replace("_", " ")
        contrast = f"{pair['chosen_score'] - pair['rejected_score']:+.2f}"
        table.add_row(*texts, teaches, contrast, Text(pair["drop_reason"]))
    return table
