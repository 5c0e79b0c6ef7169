"""Claims against answers: paired by prompt, means over seeds, an interval that resamples prompts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from character_ray.statistics import Interval, paired_difference
from character_ray.studies.schema import DEFAULT_ARM, Claim

__all__ = ["Decided", "Verdict", "judge_claim"]

Decided = Mapping[str, tuple[Sequence[str], Sequence[float]]]
"""By metric: the prompt of each answer, and 1 or 0."""


@dataclass(frozen=True)
class Verdict:
    """What came of a claim."""

    claim: Claim
    outcome: Literal["holds", "fails", "undecided", "not run"]
    difference: Interval | None
    """The better side minus the worse, in the claim's direction; ``None`` when a side is missing."""


def judge_claim(claim: Claim, decided: Mapping[tuple[str, str, int], Decided], *, seed: int = 0) -> Verdict:
    """Whether the 95 % interval of the difference lies on one side of zero.

    Args:
        claim: The claim.
        decided: Decisions by cell, arm and seed. Seeds are averaged by prompt, so that a prompt counts once.
        seed: Seed of the bootstrap.
    """
    sides = []
    for side in (claim.better, claim.worse):
        cell, _, arm = side.partition("/")
        values: dict[str, list[float]] = defaultdict(list)
        for (found_cell, found_arm, _), by_metric in decided.items():
            if (found_cell, found_arm) == (cell, arm or DEFAULT_ARM) and claim.metric in by_metric:
                for prompt, value in zip(*by_metric[claim.metric], strict=True):
                    values[prompt].append(value)
        sides.append({prompt: sum(found) / len(found) for prompt, found in values.items()})
    if not all(sides):
        return Verdict(claim, "not run", None)
    sign = -1.0 if claim.metric == "looping_rate" else 1.0
    better, worse = ([sign * value for value in side.values()] for side in sides)
    interval = paired_difference(better, list(sides[0]), worse, list(sides[1]), seed=seed, resamples=2000)
    if interval.low > 0:
        return Verdict(claim, "holds", interval)
    return Verdict(claim, "fails" if interval.high < 0 else "undecided", interval)
