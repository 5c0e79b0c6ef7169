"""A few pairs, side by side, before a run is paid for."""

import statistics

from rich.table import Table

from character_ray.config import Recipe
from character_ray.constitution import load_constitution, vocabulary_pattern
from character_ray.judging.threshold import fit_threshold
from character_ray.log import console
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.data import ask_student, ask_teacher, make_pairs
from character_ray.pipeline.ray_session import ray_session
from character_ray.prompts import training_prompts

__all__ = ["preview_pairs"]

# Below this share of pairs whose chosen side beats the rejected one, a student would learn noise.
LEAST_WON, LEAST_CONTRAST = 0.8, 0.2


def preview_pairs(recipe: Recipe, num: int) -> None:
    """Generate, score and show ``num`` pairs; warn when the teacher does not hold the persona."""
    persona = Persona(load_constitution(recipe.constitution))
    context = Context.open(recipe.model_copy(update={"name": f"{recipe.name}-preview"}))
    every = training_prompts(recipe.prompts, recipe.seed)
    prompts = every[:: max(len(every) // num, 1)][:num]
    with ray_session(recipe):
        base = context.weights(None, "")
        wanted = [ask_teacher(context, persona, prompts)], [ask_student(context, prompts)]
        if recipe.shares_engine:
            teacher, student = context.generate("base model", [*wanted[0], *wanted[1]], base, recipe.student_engine)
        else:
            assert recipe.teacher_engine is not None
            (teacher,) = context.generate("teacher", wanted[0], context.teacher_weights(), recipe.teacher_engine)
            (student,) = context.generate("student", wanted[1], base, recipe.student_engine)
        _, pairs, scores = make_pairs(context, persona, prompts, teacher, student)
    table = Table("prompt", "chosen (teacher)", "rejected (student)", "contrast", "dropped", show_lines=True)
    contrasts = []
    for pair in pairs:
        contrasts.append(pair["chosen_score"] - pair["rejected_score"])
        texts = (pair[side][0]["content"] for side in ("prompt", "chosen", "rejected"))
        table.add_row(*texts, f"{contrasts[-1]:+.2f}", pair["drop_reason"])
    console.print(table)
    won = sum(contrast > 0 for contrast in contrasts) / len(contrasts)
    median = statistics.median(contrasts)
    pattern = vocabulary_pattern(persona.constitution)
    spoken = (
        f"{sum(bool(pattern.search(p['chosen'][0]['content'])) for p in pairs) / len(pairs):.0%}"
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
        console.print(
            f"[yellow]warning[/]: teacher {recipe.teacher.name} does not hold {persona.constitution.meta.name}. Add examples in its "
            "own words to the constitution, raise distill.samples, or use a larger teacher."
        )
