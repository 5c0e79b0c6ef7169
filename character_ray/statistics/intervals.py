"""Every interval used in a report, seeded where it draws.

Axes: N observations, C clusters (prompts), B bootstrap resamples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "Interval",
    "auc_interval",
    "cluster_rate",
    "cluster_statistic",
    "expanded_levels",
    "paired_difference",
    "resample_weights",
    "unvaried_bounds",
]

Z95 = 1.959963984540054
# Means of a prompt that are equal but for rounding.
SAME = 1e-9


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    method: str


def cluster_rate(
    values_N: Sequence[float], clusters_N: Sequence[str], *, seed: int, resamples: int = 1000, bounded: bool = True
) -> Interval:
    """Mean of observations that come in clusters, with an interval that resamples clusters.

    With one observation per cluster and values 0 or 1 the interval is Wilson's, and so it is, on the number of clusters, where every
    observation is the same 0 or 1. Where the clusters' means are the same the bootstrap says nothing, and :func:`unvaried_bounds` does.
    Else the bootstrap's quantiles are expanded (:func:`expanded_levels`); since it cannot leave the range of the clusters' means, it
    is still too narrow with fewer than about six clusters.

    Args:
        values_N: Observations; for a rate 0 or 1.
        clusters_N: Cluster (prompt) of each observation.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.
        bounded: Whether the values are shares of 1. Without bounds there is no interval where the clusters' means are the same: then
            both ends are the value, and ``method`` says so.

    Raises:
        ValueError: There is no observation, or the two arguments differ in length.
    """
    values = np.asarray(values_N, dtype=np.float64)
    if len(values) == 0 or len(values) != len(clusters_N):
        raise ValueError(
            f"{len(values)} values and {len(clusters_N)} clusters: at least one of each is needed, and as many of both"
        )
    sums_C, sizes_C = _cluster_sums(values, clusters_N)
    value = float(values.mean())
    single = len(sizes_C) == len(values)
    binary = bool(np.isin(values, (0.0, 1.0)).all())
    if bounded and binary and (single or value in (0.0, 1.0)):
        low, high = _wilson(value, len(sizes_C))
        return Interval(value, low, high, len(values), f"Wilson on {len(sizes_C)} prompts")
    if np.ptp(sums_C / sizes_C) < SAME:
        return _unvaried(value, len(sizes_C), (0.0, 1.0) if bounded else None, len(values))
    weights_BC = resample_weights(len(sizes_C), resamples, seed)
    means_B = (weights_BC @ sums_C) / np.maximum(weights_BC @ sizes_C, 1)
    low, high = (float(x) for x in np.quantile(means_B, expanded_levels(len(sizes_C))))
    return Interval(value, low, high, len(values), _bootstrap(len(sizes_C), resamples, seed))


def cluster_statistic(
    totals_NK: np.ndarray,
    clusters_N: Sequence[str],
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    seed: int,
    resamples: int = 1000,
    bounds: tuple[float, float] = (0.0, 1.0),
    reflected: bool = False,
) -> Interval:
    """A function of sums over all observations, such as F1 or kappa, with an interval that resamples clusters.

    Resamples on which the function is not defined (NaN) are left out; where all others give the value itself the bootstrap says nothing,
    and the interval is :func:`unvaried_bounds`.

    Args:
        totals_NK: What is summed, by observation; K quantities.
        clusters_N: Cluster (prompt) of each observation.
        statistic: Takes sums of shape ``(..., K)`` and returns values of shape ``(...,)``.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.
        bounds: Smallest and largest possible value.
        reflected: Reflect the bootstrap's quantiles at the value (Efron's basic interval), for a statistic that noise pushes to one side:
            the resamples lie as far above the value as the value lies above the truth.

    Raises:
        ValueError: There is no observation, the two arguments differ in length, or the function is not defined on all observations.
    """
    if len(totals_NK) == 0 or len(totals_NK) != len(clusters_N):
        raise ValueError(
            f"{len(totals_NK)} observations and {len(clusters_N)} clusters: at least one is needed, and as many of both"
        )
    _, index_N = np.unique(np.asarray(clusters_N, dtype=object).astype(str), return_inverse=True)
    sums_CK = np.zeros((index_N.max() + 1, totals_NK.shape[1]))
    np.add.at(sums_CK, index_N, np.asarray(totals_NK, dtype=np.float64))
    value, clusters = float(statistic(sums_CK.sum(0))), len(sums_CK)
    if math.isnan(value):
        raise ValueError("the statistic is not defined on these observations")
    boot_B = np.asarray(statistic(resample_weights(clusters, resamples, seed) @ sums_CK))
    boot_B = boot_B[~np.isnan(boot_B)]
    if np.abs(boot_B - value).max(initial=0.0) < SAME:
        return _unvaried(value, clusters, bounds, len(totals_NK))
    low, high = (float(x) for x in np.quantile(boot_B, expanded_levels(clusters)))
    if reflected:
        low, high = 2 * value - high, 2 * value - low
    method = f"{'reflected ' if reflected else ''}{_bootstrap(clusters, resamples, seed)}"
    return Interval(value, max(low, bounds[0]), min(high, bounds[1]), len(totals_NK), method)


def auc_interval(value: float, positives: int, negatives: int) -> Interval:
    """Area under a ROC curve with its 95 % interval (Newcombe 2006, method 5), which has width where all are told apart, too.

    The ends are the areas whose standard error (Hanley and McNeil 1982, with the mean of both sizes) puts the value 1.96 of them away.
    Observations count as independent.

    Args:
        value: The area, 0 to 1.
        positives: Observations that should score high, at least one.
        negatives: Observations that should score low, at least one.
    """
    others = (positives + negatives) / 2 - 1

    def off(area: float) -> float:
        """How many standard errors above 1.96 lie between value and area, squared and scaled."""
        spread = area * (1 - area) * (1 + others * (1 - area) / (2 - area) + others * area / (1 + area))
        return (value - area) ** 2 - Z95**2 * spread / (positives * negatives)

    low, high = (_edge(off, value, end) for end in (0.0, 1.0))
    method = f"Newcombe's method 5 on {positives} and {negatives}"
    return Interval(value, low, high, positives + negatives, method)


def _edge(off: Callable[[float], float], inside: float, outside: float) -> float:
    """Where a function turns from negative (inside) to positive (outside), by halving."""
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if off(middle) > 0 else (middle, outside)
    return inside


def paired_difference(
    first_N: Sequence[float],
    first_clusters_N: Sequence[str],
    second_N: Sequence[float],
    second_clusters_N: Sequence[str],
    *,
    seed: int,
    resamples: int = 1000,
    bounded: bool = True,
) -> Interval:
    """Mean of the per-prompt differences of two arms on the prompts both answered, with a bootstrap interval over prompts.

    The bootstrap's quantiles are expanded (:func:`expanded_levels`). Where all differences are the same it says nothing, and the
    interval is :func:`unvaried_bounds`: eight prompts that all differ by 1 show a difference above 0.26, not one of 1.

    Args:
        first_N: Observations of the first arm.
        first_clusters_N: Prompt of each.
        second_N: Observations of the arm that is taken away.
        second_clusters_N: Prompt of each.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.
        bounded: Whether the values are shares of 1, so that a difference lies between -1 and 1. Without bounds there is no interval
            where all differences are the same: then both ends are the value, and ``method`` says so.

    Returns:
        The interval; ``n`` is the number of prompts that both answered.

    Raises:
        ValueError: The arms share no prompt.
    """
    means = [
        _cluster_means(values, clusters)
        for values, clusters in ((first_N, first_clusters_N), (second_N, second_clusters_N))
    ]
    shared = sorted(means[0].keys() & means[1].keys())
    if not shared:
        raise ValueError("the two arms share no prompt")
    differences_C = np.array([means[0][name] - means[1][name] for name in shared])
    value = float(differences_C.mean())
    if np.ptp(differences_C) < SAME:
        return _unvaried(value, len(shared), (-1.0, 1.0) if bounded else None, len(shared))
    boot_B = resample_weights(len(shared), resamples, seed) @ differences_C / len(shared)
    low, high = (float(x) for x in np.quantile(boot_B, expanded_levels(len(shared))))
    return Interval(value, low, high, len(shared), f"paired {_bootstrap(len(shared), resamples, seed)}")


def unvaried_bounds(value: float, n: int, bounds: tuple[float, float]) -> tuple[float, float]:
    """95 % bounds of a mean when all of ``n`` prompts show the same value, so that no spread can be estimated.

    Prompts with another value are then at most a share of 1 - 0.025^(1/n), about 3.7 / n (Clopper & Pearson 1934; with 3 / n on one side
    the rule of three, Hanley & Lippman-Hand 1983). The mean is furthest from ``value`` where all of those lie at one of the bounds.

    Args:
        value: What every prompt shows.
        n: Number of prompts, at least 1.
        bounds: Smallest and largest possible value.

    Returns:
        The lower and the upper end, within ``bounds``; they close in on ``value`` as n grows. On differences that are all 1 the
        lower end exceeds 0 from six prompts on, as the exact sign test rejects.
    """
    unseen = 1 - 0.025 ** (1 / n)
    return value - unseen * (value - bounds[0]), value + unseen * (bounds[1] - value)


def resample_weights(num_clusters: int, resamples: int, seed: int) -> np.ndarray:
    """How often each cluster is drawn in each resample; shape ``(B, C)``, rows summing to C."""
    return np.random.default_rng(seed).multinomial(
        num_clusters, np.full(num_clusters, 1 / num_clusters), size=resamples
    )


def expanded_levels(clusters: int, level: float = 0.95) -> tuple[float, float]:
    """Quantiles of a bootstrap that make a percentile interval as wide as Student's (Hesterberg 2015, section 3.3).

    A bootstrap of few clusters is too narrow twice over: its variance lacks the factor n / (n - 1), and its quantiles are the
    normal's.

    Args:
        clusters: Number of clusters that are resampled; with fewer than two the whole range is taken.
        level: Coverage aimed at.
    """
    if clusters < 2:
        return 0.0, 1.0
    from scipy.stats import norm, t

    quantile = t.ppf((1 + level) / 2, clusters - 1) * math.sqrt(clusters / (clusters - 1))
    low = float(norm.cdf(-quantile))
    return low, 1 - low


def _bootstrap(clusters: int, resamples: int, seed: int) -> str:
    return f"bootstrap of {clusters} prompts, {resamples} resamples, seed {seed}, quantiles expanded to Student's t"


def _unvaried(value: float, clusters: int, bounds: tuple[float, float] | None, n: int) -> Interval:
    if bounds is None:
        return Interval(
            value, value, value, n, f"no interval: the same on all of {clusters} prompts, and without bounds"
        )
    low, high = unvaried_bounds(value, clusters, bounds)
    return Interval(value, low, high, n, f"Clopper-Pearson on {clusters} prompts, all the same")


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's score interval (1927)."""
    center = share + Z95**2 / (2 * n)
    spread = Z95 * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    scale = 1 + Z95**2 / n
    return max(0.0, float((center - spread) / scale)), min(1.0, float((center + spread) / scale))


def _cluster_sums(values_N: np.ndarray, clusters_N: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    _, index_N = np.unique(np.asarray(clusters_N, dtype=object).astype(str), return_inverse=True)
    return np.bincount(index_N, weights=values_N), np.bincount(index_N).astype(np.float64)


def _cluster_means(values_N: Sequence[float], clusters_N: Sequence[str]) -> dict[str, float]:
    names = sorted(set(map(str, clusters_N)))
    sums_C, sizes_C = _cluster_sums(np.asarray(values_N, dtype=np.float64), clusters_N)
    return dict(zip(names, sums_C / sizes_C, strict=True))
