"""Whether a model answers the same question alike however it is worded. Axes: N answers, W wordings, B resamples."""

from collections.abc import Sequence

import numpy as np

from character_ray.statistics import Interval, cluster_rate, expanded_levels, resample_weights

__all__ = ["disagreement"]


def disagreement(holds_N: Sequence[bool], wordings_N: Sequence[str], *, seed: int, resamples: int) -> Interval:
    """Chance that two answers, to two wordings of one question, differ in whether something holds; 0 to 1.

    0 where every answer says the same, whichever that is. The interval resamples wordings; where all agree it is Wilson's on their
    number.

    Args:
        holds_N: What is decided about each answer, such as whether it gives the persona's name.
        wordings_N: The wording that each answers.
        seed: Seed of the bootstrap.
        resamples: Number of resamples.

    Raises:
        ValueError: There are fewer than two wordings.
    """
    names, index_N = np.unique(np.asarray(wordings_N), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"answers to two wordings of a question are compared, and there is {len(names)}")
    holds = np.asarray(holds_N, dtype=np.float64)
    if holds.min() == holds.max():
        interval = cluster_rate([0.0] * len(names), names.tolist(), seed=seed)
        return Interval(0.0, interval.low, interval.high, len(holds), f"Wilson on {len(names)} wordings")
    share_W = np.bincount(index_N, weights=holds) / np.bincount(index_N)
    differ_WW = np.outer(share_W, 1 - share_W) + np.outer(1 - share_W, share_W)
    pairs_WW = 1 - np.eye(len(names))
    weights_BW = resample_weights(len(names), resamples, seed).astype(np.float64)
    # A wording drawn twice is not compared with itself, and a resample of one wording alone compares nothing.
    pairs_B = ((weights_BW @ pairs_WW) * weights_BW).sum(1)
    differ_B = ((weights_BW @ (differ_WW * pairs_WW)) * weights_BW).sum(1)[pairs_B > 0] / pairs_B[pairs_B > 0]
    low, high = (float(x) for x in np.quantile(differ_B, expanded_levels(len(names))))
    value = float((differ_WW * pairs_WW).sum() / pairs_WW.sum())
    method = (
        f"bootstrap of {len(names)} wordings, {resamples} resamples, seed {seed}, quantiles expanded to Student's t"
    )
    return Interval(value, low, high, len(holds), method)
