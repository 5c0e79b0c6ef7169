"""Claims against answers: paired by prompt and seed, decided by an interval over both."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from character_ray.judging.verdict import is_tie
from character_ray.statistics import Interval, crossed_interval
from character_ray.studies.finished import Decided, Finished
from character_ray.studies.schema import DEFAULT_ARM, Claim

__all__ = ["Outcome", "Verdict", "judge_claim"]

Outcome = Literal["holds", "fails", "undecided", "not run"]

# Scores no further apart than this, in nats per token, are a tie; a judge's ``tie_margin`` is the same unless a recipe changes it.
TIE = 0.02


@dataclass(frozen=True)
class Verdict:
    """What came of a claim."""

    claim: Claim
    outcome: Outcome
    difference: Interval | None
    """The better side minus the worse, in the claim's direction; ``None`` when a side is missing."""
    seeds: int = 0
    """Seeds that ran on both sides."""


def judge_claim(claim: Claim, runs: Sequence[Finished]) -> Verdict:
    """Whether the 95 % interval of the difference lies on one side of zero.

    Differences are taken between runs of the same seed, prompt by prompt; the interval is over seeds and prompts
    (:func:`character_ray.statistics.crossed_interval`).

    Args:
        claim: The claim.
        runs: Runs of the study; those that failed count as not run.
    """
    better, worse = (_side(side, runs) for side in (claim.better, claim.worse))
    by_seed = {}
    for seed in sorted(better.keys() & worse.keys()):
        found = _differences(claim.metric, better[seed], worse[seed])
        if found:
            by_seed[seed] = found
    if not by_seed:
        return Verdict(claim, "not run", None)
    half = 0.5 if claim.metric == "win_rate" else 1.0
    interval = crossed_interval(by_seed, bounds=(-half, half))
    outcome: Outcome = "undecided"
    if interval.low > 0:
        outcome = "holds"
    elif interval.high < 0:
        outcome = "fails"
    return Verdict(claim, outcome, interval, len(by_seed))


def _side(side: str, runs: Sequence[Finished]) -> dict[int, Decided]:
    """By seed, what was decided about one arm of one cell."""
    cell, _, arm = side.partition("/")
    arm = arm or DEFAULT_ARM
    return {run.seed: run.decided[arm] for run in runs if run.cell == cell and arm in run.decided}


def _differences(metric: str, better: Decided, worse: Decided) -> dict[str, float]:
    if metric == "win_rate":
        return _wins(better.get("score", {}), worse.get("score", {}))
    first, second = better.get(metric, {}), worse.get(metric, {})
    sign = -1.0 if metric == "looping_rate" else 1.0
    return {prompt: sign * (first[prompt] - second[prompt]) for prompt in first.keys() & second.keys()}


def _wins(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """By prompt one half for a win, minus one half for a loss, 0 for a tie; a prompt without both scores has none."""
    gaps = {prompt: first[prompt] - second[prompt] for prompt in first.keys() & second.keys()}
    return {
        prompt: 0.0 if is_tie(gap, TIE) else math.copysign(0.5, gap)
        for prompt, gap in gaps.items()
        if not math.isnan(gap)
    }
