"""The jackknife, for figures that a bootstrap would change: an answer that is drawn twice is no second answer."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from character_ray.statistics.intervals import Interval

__all__ = ["group_jackknife"]

GROUPS = 20
"""Groups of clusters, each of which is left out once."""


def group_jackknife(
    value: float,
    without: Callable[[Sequence[int]], float],
    clusters_N: Sequence[str],
    *,
    seed: int,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """A figure with its 95 % interval by the delete-a-group jackknife (Shao and Tu 1995), whose groups are whole clusters.

    Args:
        value: The figure over all observations.
        without: The figure over these observations, by number; over as much of them as makes it comparable.
        clusters_N: Cluster (prompt) of each observation.
        seed: Seed of the groups.
        bounds: Smallest and largest possible value.

    Returns:
        The value with Student's t for as many groups as there are, less one; without an interval where there is a single cluster.
    """
    from scipy.stats import t

    names, index_N = np.unique(np.asarray(clusters_N, dtype=object).astype(str), return_inverse=True)
    groups = min(GROUPS, len(names))
    if groups < 2:
        return Interval(value, value, value, len(clusters_N), "no interval: one prompt alone")
    of_cluster = np.random.default_rng(seed).permutation(len(names)) % groups
    group_N = of_cluster[index_N]
    left_G = np.array([without(np.flatnonzero(group_N != group).tolist()) for group in range(groups)])
    spread = math.sqrt((groups - 1) / groups * float(np.square(left_G - left_G.mean()).sum()))
    half = float(t.ppf(0.975, groups - 1)) * spread
    method = f"jackknife over {groups} groups of {len(names)} prompts, seed {seed}"
    return Interval(value, max(value - half, bounds[0]), min(value + half, bounds[1]), len(clusters_N), method)
