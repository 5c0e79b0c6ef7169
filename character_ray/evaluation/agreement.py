"""How far two ways of deciding the same answers agree, beyond what chance would give."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from character_ray.judging.agreement import cohen_interval
from character_ray.statistics import cluster_rate

__all__ = ["agreement"]


def agreement(
    first: str,
    second: str,
    first_N: np.ndarray,
    second_N: np.ndarray,
    prompts: Sequence[str],
    *,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Two ways of deciding on the same answers; intervals resample prompts.

    Args:
        first: Name of the one.
        second: Name of the other.
        first_N: What it decided, booleans.
        second_N: The other's decisions, in the same order; at least one.
        prompts: What each answers.
        seed: Seed of the bootstrap.
        resamples: Its resamples.

    Returns:
        The fields of :class:`character_ray.report.schema.Agreement`; ``kappa`` is Cohen's (1960), ``None`` where both always say the same
        one thing, so that chance explains everything.
    """
    draws: dict[str, Any] = {"seed": seed, "resamples": resamples}
    same_N = first_N == second_N
    kappa = cohen_interval(first_N.tolist(), second_N.tolist(), prompts, (False, True), **draws)
    return {
        "first": first,
        "second": second,
        "agreement": vars(cluster_rate(same_N.astype(float).tolist(), prompts, **draws)),
        "kappa": vars(kappa) if kappa else None,
        "n": len(same_N),
        "only_first": int((first_N & ~second_N).sum()),
        "only_second": int((~first_N & second_N).sum()),
    }
