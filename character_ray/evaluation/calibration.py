"""Whether a classifier is right as often as it says: reliability, expected calibration error, and the temperature that mends it.

Axes: N texts, K classes, B resamples.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from character_ray.statistics import Interval, cluster_statistic

__all__ = ["calibration_error", "calibration_interval", "fit_temperature", "reliability", "softmax"]

BINS = 10


def calibration_error(confidence_N: np.ndarray, right_N: np.ndarray) -> float:
    """Expected calibration error: mean distance of confidence from accuracy over ten bins of equal width, weighted by their size."""
    return float(_error(_by_bin(confidence_N, right_N).sum(0)))


def calibration_interval(
    confidence_N: np.ndarray, right_N: np.ndarray, clusters_N: Sequence[str], *, seed: int, resamples: int = 1000
) -> Interval:
    """The expected calibration error with its interval.

    Noise alone makes the error larger, in every resample once more, so the bootstrap's quantiles are reflected, and the lower end is 0
    where a classifier that is exactly as sure as it says would show such an error, too (its labels are drawn from its confidence:
    Broecker and Smith 2007). In simulation with 50 to 800 texts the interval holds the truth in 87 to 98 % of cases, the bootstrap's plain
    quantiles never where the classifier is calibrated.

    Args:
        confidence_N: Probability of what is said.
        right_N: 1 where it is so, else 0.
        clusters_N: Prompt of each text.
        seed: Seed of both draws.
        resamples: Number of resamples of each.
    """
    found = cluster_statistic(
        _by_bin(confidence_N, right_N), clusters_N, _error, seed=seed, resamples=resamples, reflected=True
    )
    count, confidence, _ = np.split(_by_bin(confidence_N, right_N), 3, axis=1)
    drawn_BN = (np.random.default_rng(seed).random((resamples, len(confidence_N))) < confidence_N).astype(np.float32)
    said_BK = np.tile(np.concatenate([count.sum(0), confidence.sum(0)]), (resamples, 1))
    chance = float(np.quantile(_error(np.hstack([said_BK, drawn_BN @ count])), 0.975))
    low = 0.0 if found.value <= chance else found.low
    return replace(
        found,
        low=low,
        high=max(found.high, found.value),
        method=f"{found.method}; 0 up to {chance:.3f}, which chance makes of no error",
    )


def reliability(probability_N: np.ndarray, labels_N: np.ndarray) -> list[dict[str, float]]:
    """Ten bins of equal width, those without a text left out: mean probability, share that is so, and number of texts."""
    bins = _place(probability_N)
    return [
        {
            "confidence": float(probability_N[bins == number].mean()),
            "observed": float(labels_N[bins == number].mean()),
            "n": float((bins == number).sum()),
        }
        for number in range(BINS)
        if (bins == number).any()
    ]


def fit_temperature(logits_NK: np.ndarray, labels_N: np.ndarray) -> float:
    """The temperature under which the labels are likeliest; above 1 the logits were too sure.

    Labels that are all guessed right would be likeliest at temperature 0, that is in certainty. So each label counts for one text in
    ``N + 2`` less, spread over the other classes, as Platt (1999) does.

    Raises:
        ValueError: There is nothing to fit on.
    """
    from scipy.optimize import minimize_scalar

    if len(labels_N) == 0:
        raise ValueError("no text is left to calibrate on; five prompts or more are needed")

    spared = 1 / (len(labels_N) + 2)
    target_NK = np.full(logits_NK.shape, spared / (logits_NK.shape[1] - 1))
    target_NK[np.arange(len(labels_N)), labels_N] = 1 - spared

    def loss(log_temperature: float) -> float:
        log_p = np.log(np.maximum(softmax(logits_NK / np.exp(log_temperature)), 1e-300))
        return float(-(target_NK * log_p).sum(1).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def softmax(logits_NK: np.ndarray) -> np.ndarray:
    """Probabilities of the classes, rows summing to 1."""
    shifted = np.exp(logits_NK - logits_NK.max(1, keepdims=True))
    found: np.ndarray = shifted / shifted.sum(1, keepdims=True)
    return found


def _place(probability_N: np.ndarray) -> np.ndarray:
    places: np.ndarray = np.minimum((probability_N * BINS).astype(int), BINS - 1)
    return places


def _by_bin(confidence_N: np.ndarray, right_N: np.ndarray) -> np.ndarray:
    """For each text in which bin it counts, its confidence there, and whether it is right; shape ``(N, 3 * BINS)``."""
    inside_NB = np.eye(BINS)[_place(confidence_N)]
    return np.hstack([inside_NB, inside_NB * confidence_N[:, None], inside_NB * right_N[:, None]])


def _error(sums_K: np.ndarray) -> np.ndarray:
    """The error from sums over texts, shape ``(..., 3 * BINS)``."""
    count, confidence, right = np.split(sums_K, 3, axis=-1)
    error: np.ndarray = np.abs(confidence - right).sum(-1) / count.sum(-1)
    return error
