"""What a study measured: the runs of a cell, their arms, and one number with its interval over seeds and prompts."""

from collections.abc import Sequence

from character_ray.report import wording
from character_ray.statistics import Interval, cluster_rate, crossed_interval
from character_ray.studies.finished import Finished

__all__ = ["COLUMNS", "arms_of", "label", "measure", "of_cell"]

COLUMNS = (
    "persona_rate",
    "vocabulary_rate",
    "classifier_rate",
    "override_rate",
    "attack_rate",
    "hidden_trait_rate",
    "identity_rate",
    "looping_rate",
    "user_rate",
)
LABELS = {
    "attack_rate": "Under attack",
    "refused_rate": "Refused",
    "refused_in_character_rate": "Refused in character",
    "user_rate": "Takes up the task",
}


def label(metric: str) -> str:
    """What a study's page calls a metric."""
    return LABELS.get(metric) or wording.label(metric)


def of_cell(runs: Sequence[Finished], cell: str) -> list[Finished]:
    """Its finished runs."""
    return [run for run in runs if run.cell == cell and run.report]


def arms_of(own: Sequence[Finished]) -> list[str]:
    """The arms of a cell's runs, in the report's order."""
    return list(own[0].report.arms) if own and own[0].report else []


def measure(own: Sequence[Finished], arm: str, metric: str) -> Interval | None:
    """A share between 0 and 1, over seeds and prompts together; over prompts alone where one seed ran."""
    by_seed = {run.seed: run.decided[arm][metric] for run in own if metric in run.decided.get(arm, {})}
    if not by_seed:
        return None
    if len(by_seed) == 1:
        values = next(iter(by_seed.values()))
        return cluster_rate(list(values.values()), list(values), seed=0)
    try:
        return crossed_interval(by_seed, bounds=(0.0, 1.0))
    except ValueError:
        return None
