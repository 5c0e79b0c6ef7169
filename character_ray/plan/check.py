"""A plan held against a finished run: predicted and measured seconds, stage by stage."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from character_ray.config import Recipe
from character_ray.plan.estimate import estimate_recipe
from character_ray.report.schema import Report

__all__ = ["Compared", "compare_with", "measured_seconds"]

# Folding, filters and joining, which no plan foresees.
OTHER = "other"
# What the stages of a run whose names begin so are called in a plan.
_PLANNED = {
    "answers": "answers",
    "challenges": "answers",
    "erosion": "answers",
    "scores": "scores",
    "lessons": "lessons",
}
# And those of a name of their own.
_RENAMED = {"sft-alone": "sft", "trait-requests": "trait prompts"}


@dataclass(frozen=True)
class Compared:
    """One stage, or the whole run."""

    stage: str
    predicted_s: float
    measured_s: float

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_s / self.measured_s - 1 if self.measured_s else 0.0


def compare_with(report: Report, *, talk_apart: bool | None = None) -> list[Compared]:
    """Every stage of a finished run, what no plan foresees, and the whole.

    The report's own recipe is planned, with the shares of rows that its filters kept; lengths stay the plan's guess.

    Args:
        report: The run.
        talk_apart: Its self-interactions started an engine of their own. ``None`` tells from the report: versions that did so wrote
            no diversity of the answers, and later ones always do.
    """
    talk_apart = not report.diversity if talk_apart is None else talk_apart
    recipe = Recipe.model_validate(report.run.recipe)
    stages = report.run.stages
    plan = recipe.plan
    kept = {"kept_pairs": _kept(stages, "pairs"), "kept_conversations": _kept(stages, "introspection")}
    plan = plan.model_copy(update={key: share for key, share in kept.items() if share})
    planned = estimate_recipe(recipe.model_copy(update={"plan": plan}), talk_apart=talk_apart)
    measured = measured_seconds({name: stage.wall_s for name, stage in stages.items()})
    compared = [
        Compared(each.step.stage, each.seconds, measured.pop(each.step.stage, 0.0)) for each in planned.estimates
    ]
    compared.append(Compared(OTHER, 0.0, sum(measured.values())))
    whole = [sum(each.predicted_s for each in compared), sum(each.measured_s for each in compared)]
    return [*(each for each in compared if each.predicted_s or each.measured_s), Compared("whole run", *whole)]


def measured_seconds(stages: Mapping[str, float]) -> dict[str, float]:
    """The seconds of a report's stages under the names that a plan has for them."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for name, wall_s in stages.items():
        name = name.removeprefix("control-")
        for beginning, planned in _PLANNED.items():
            if name.startswith(beginning + "-"):
                name = planned
        seconds[_RENAMED.get(name, name)] += wall_s
    return dict(seconds)


def _kept(stages: Mapping[str, object], name: str) -> float:
    stage = stages.get(name)
    rows_in, rows_out = getattr(stage, "rows_in", 0), getattr(stage, "rows_out", 0)
    return min(rows_out / rows_in, 1.0) if rows_in else 0.0
