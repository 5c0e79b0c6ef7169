"""Every interval and test used in a report."""

from character_ray.statistics.crossed import crossed_interval
from character_ray.statistics.intervals import (
    Interval,
    auc_interval,
    cluster_rate,
    cluster_statistic,
    expanded_levels,
    paired_difference,
    resample_weights,
    unvaried_bounds,
)
from character_ray.statistics.jackknife import group_jackknife
from character_ray.statistics.p_values import Test, holm, mcnemar, paired_test, sign_flip

__all__ = [
    "Interval",
    "Test",
    "auc_interval",
    "cluster_rate",
    "cluster_statistic",
    "crossed_interval",
    "expanded_levels",
    "group_jackknife",
    "holm",
    "mcnemar",
    "paired_difference",
    "paired_test",
    "resample_weights",
    "sign_flip",
    "unvaried_bounds",
]
