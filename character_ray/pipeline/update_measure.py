"""What an update of a character moved: old and new answers to the same prompts, judged line by line."""

from collections.abc import Sequence
from typing import Any

from character_ray.constitution import Change
from character_ray.errors import ReportError
from character_ray.evaluation.locality import judged_lines, locality
from character_ray.inference.passes import Generation
from character_ray.inference.systems_judge import UnderSystem, score_under_systems
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.finished import FinishedRun
from character_ray.rows import Prompt, content_hash

__all__ = ["measure_update"]


def measure_update(
    context: Context,
    persona: Persona,
    run: FinishedRun,
    questions: Sequence[tuple[Prompt, int]],
    generation: Generation,
    changes: Sequence[Change],
    other: FinishedRun | None,
) -> dict[str, Any]:
    """What the updated character said to the evaluation's prompts, and the old answers, judged line by line.

    Args:
        context: The update's run.
        persona: The new version.
        run: The finished run of the old version.
        questions: What the updated character was asked.
        generation: Its answers.
        changes: What the new version changes.
        other: A run that was trained on the new version from the beginning, to compare with.

    Raises:
        ReportError: The runs were not asked the same prompts, or have no answers.
    """
    recipe = context.recipe
    texts = {prompt["prompt_id"]: prompt["prompt"] for prompt, _ in questions if prompt["source"] != "probe"}
    said = {
        "before": _answers_of(run),
        "after": {row["prompt_id"]: row["completion"] for row in generation.spoken() if not row["error"]},
        **({"retrained": _answers_of(other)} if other else {}),
    }
    lines = judged_lines(persona.constitution, changes)
    rows = [
        UnderSystem(
            row_id=f"{number}/{arm}/{prompt_id}", system=line.system, prompt=texts[prompt_id], completion=completion
        )
        for arm, answers in said.items()
        for prompt_id, completion in answers.items()
        if prompt_id in texts
        for number, line in enumerate(lines)
    ]
    inputs = {"base": context.student.identity, "dtype": recipe.judge.dtype, "rows": content_hash(rows)}
    artefact = context.artefact("scores-lines", inputs)
    reused = artefact.is_done
    with artefact.claim():
        scores = score_under_systems(
            artefact.stage, artefact, rows, context.student.folder, recipe.judge, context.held.judges
        )
    context.close(artefact, reused=reused)
    by_arm: dict[str, dict[str, list[float]]] = {
        arm: {
            prompt_id: [scores[f"{number}/{arm}/{prompt_id}"] for number in range(len(lines))]
            for prompt_id in answers
            if prompt_id in texts
        }
        for arm, answers in said.items()
    }
    try:
        return locality(lines, by_arm, seed=recipe.seed, resamples=recipe.evaluate.bootstrap)
    except ValueError as cause:
        raise ReportError(f"{run.folder}: {cause}. Compare runs with the same evaluate settings.") from cause


def _answers_of(run: FinishedRun) -> dict[str, str]:
    """What a run's trained character said, by prompt."""
    found = {row["prompt_id"]: row["completion"] for row in run.answers if row["arm"] == "full"}
    if not found:
        raise ReportError(f"{run.folder} has no answers of the arm full. Run its recipe with full among evaluate.arms.")
    return found
