"""Every test used in a report, seeded where it draws.

Axes: N observations, C clusters (prompts).
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from character_ray.statistics.intervals import SAME

__all__ = ["Test", "holm", "mcnemar", "paired_test", "sign_flip"]

# Clusters up to which all signs are tried; as many signs are drawn where there are more.
EXACT_CLUSTERS = 16

Test = Literal["McNemar", "sign flip"]


def paired_test(
    first_N: Sequence[float], second_N: Sequence[float], clusters_N: Sequence[str], *, seed: int
) -> tuple[float, Test]:
    """Two-sided p-value that two arms differ on the same observations, and which test made it.

    McNemar's exact test where every cluster holds one decision of each arm; else observations of one cluster (several prompts of one
    wording, or a prompt that was answered several times) are not independent, and the signs of the clusters' mean differences are flipped.

    Args:
        first_N: Of the first arm; 0 or 1, or the mean of several.
        second_N: The same observations of the second, in the same order.
        clusters_N: What makes them dependent.
        seed: Seed of drawn signs.
    """
    if len(set(clusters_N)) == len(first_N) and {*first_N, *second_N} <= {0.0, 1.0}:
        return mcnemar(first_N, second_N), "McNemar"
    gaps: dict[str, list[float]] = {}
    for cluster, first, second in zip(clusters_N, first_N, second_N, strict=True):
        gaps.setdefault(cluster, []).append(first - second)
    return sign_flip([sum(own) / len(own) for own in gaps.values()], seed=seed), "sign flip"


def mcnemar(first_C: Sequence[float], second_C: Sequence[float]) -> float:
    """Exact two-sided p-value that two arms differ on the same prompts (McNemar 1947, by the binomial distribution).

    Args:
        first_C: 0 or 1 by prompt.
        second_C: The same prompts in the same order.

    Raises:
        ValueError: The two differ in length, or hold something besides 0 and 1.
    """
    first, second = np.asarray(first_C, dtype=np.float64), np.asarray(second_C, dtype=np.float64)
    if first.shape != second.shape or not np.isin([first, second], (0.0, 1.0)).all():
        raise ValueError("McNemar's test compares two decisions, 0 or 1, on each prompt")
    only_first, only_second = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())
    differing = only_first + only_second
    tail: float = sum(math.comb(differing, k) for k in range(min(only_first, only_second) + 1)) / 2**differing
    return min(1.0, 2 * tail)


def sign_flip(differences_C: Sequence[float], *, seed: int) -> float:
    """Two-sided p-value that clusters differ by as much to either side: their signs are flipped (Fisher 1935, section 21).

    Observations of one cluster need not be independent, since all of them flip together. All 2^C signs are tried while there are few
    (C up to 16, clusters without a difference not counted), else 65,536 are drawn, what was seen among them (Phipson & Smyth 2010).
    Of C clusters no p-value is below 2^(1 - C): fewer than six prove nothing at 5 %.

    Args:
        differences_C: Mean difference of each cluster.
        seed: Seed of the drawn signs.

    Returns:
        The share of signs under which the sum is as far from 0; 1 where nothing differs.
    """
    differing = np.asarray([each for each in differences_C if abs(each) > SAME], dtype=np.float64)
    if len(differing) <= EXACT_CLUSTERS:
        sums = np.zeros(1)
        for each in differing:
            sums = np.concatenate([sums + each, sums - each])
    else:
        flips = np.random.default_rng(seed).integers(0, 2, (2**EXACT_CLUSTERS - 1, len(differing)), dtype=np.int8)
        sums = np.append((2 * flips - 1) @ differing, differing.sum())
    return float((np.abs(sums) >= abs(differing.sum()) - SAME).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that among all of them the chance of one false alarm stays below any level chosen (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
