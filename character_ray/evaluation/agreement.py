"""How far two ways of deciding the same answers agree, beyond what chance would give."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from character_ray.statistics import cluster_rate, cluster_statistic

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
    varies = (first_N.any() or second_N.any()) and not (first_N.all() and second_N.all())
    sums_N4 = np.stack([np.ones(len(same_N)), same_N, first_N, second_N], axis=1)
    return {
        "first": first,
        "second": second,
        "agreement": vars(cluster_rate(same_N.astype(float).tolist(), prompts, **draws)),
        "kappa": vars(cluster_statistic(sums_N4, prompts, _kappa, bounds=(-1, 1), **draws)) if varies else None,
        "n": len(same_N),
        "only_first": int((first_N & ~second_N).sum()),
        "only_second": int((~first_N & second_N).sum()),
    }


def _kappa(sums_K: np.ndarray) -> np.ndarray:
    """Cohen's kappa from sums of answers, agreements, and each one's yes; NaN where chance explains everything."""
    n, same, first, second = np.moveaxis(sums_K, -1, 0)
    chance = (first * second + (n - first) * (n - second)) / n**2
    found: np.ndarray = np.divide(
        same / n - chance, 1 - chance, out=np.full(np.shape(chance), np.nan), where=chance < 1 - 1e-12
    )
    return found
