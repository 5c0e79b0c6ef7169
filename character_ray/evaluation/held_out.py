"""A classifier on texts that it was not trained on: every figure a reader asks for, with its interval.

    texts with class, prompt and generator -> split by prompt: train | calibrate | test -> figures of the last

- No prompt and no text stands on two sides; texts that would are counted and left out of training.
- Confidence is calibrated by one temperature (Guo et al. 2017), fitted on prompts that neither training nor test sees.
- A text whose class is not likely enough may be left undecided: accuracy is given by share of texts decided.

Axes: N texts, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from character_ray.evaluation.calibration import calibration_interval, fit_temperature, reliability, softmax
from character_ray.statistics import cluster_rate, cluster_statistic

__all__ = ["LabelledText", "Split", "fold_prompts", "measure_held_out", "split_prompts", "split_texts"]

FOLDS = 5
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)


@dataclass(frozen=True)
class LabelledText:
    """A text of known class."""

    text: str
    label: str
    prompt: str
    generator: str
    """What wrote it, such as ``teacher`` or ``full``."""


@dataclass(frozen=True)
class Split:
    """Which texts are for what; masks of shape ``(N,)``."""

    train: np.ndarray
    calibrate: np.ndarray
    test: np.ndarray
    repeated: np.ndarray
    """Texts that are left out of training and calibration because the same text is tested."""

    @property
    def sizes(self) -> dict[str, int]:
        """How many texts are for what, by the names that reports use."""
        return {
            "num_train": int(self.train.sum()),
            "num_calibrate": int(self.calibrate.sum()),
            "num_test": int(self.test.sum()),
            "repeated": int(self.repeated.sum()),
        }


def split_texts(rows: Sequence[LabelledText], seed: int) -> Split:
    """Three fifths of the prompts to train on, one to calibrate on, one to test on; no text on two sides."""
    train, calibrate, test = split_prompts([row.prompt for row in rows], seed)
    tested = {row.text for row, is_tested in zip(rows, test, strict=True) if is_tested}
    repeated = np.array([row.text in tested for row in rows], dtype=bool) & ~test
    return Split(train & ~repeated, calibrate & ~repeated, test, repeated)


def split_prompts(prompts: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks of the texts to train on, to calibrate on and to test on: three, one and one fifths of the prompts."""
    names = np.random.default_rng(seed).permutation(sorted(set(prompts)))
    cuts = (len(names) * 3 // 5, len(names) * 4 // 5)
    parts = [set(part.tolist()) for part in np.split(names, cuts)]
    train, calibrate, test = (np.array([prompt in part for prompt in prompts]) for part in parts)
    return train, calibrate, test


def fold_prompts(prompts: Sequence[str], seed: int) -> list[np.ndarray]:
    """Masks of the texts that are tested together: a fifth of the prompts each."""
    names = np.random.default_rng(seed).permutation(sorted(set(prompts)))
    parts = [set(part.tolist()) for part in np.array_split(names, FOLDS)]
    return [np.array([prompt in part for prompt in prompts], dtype=bool) for part in parts]


def measure_held_out(
    names: Sequence[str],
    logits_NK: np.ndarray,
    labels_N: np.ndarray,
    prompts: Sequence[str],
    split: Split,
    *,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Calibrate on one part of the split and measure on the other.

    Args:
        names: Of the classes.
        logits_NK: What the classifier says of all texts; rows that it was trained on may be NaN.
        labels_N: Place of each text's class among ``names``.
        prompts: Prompt of each text.
        split: Which texts are for what.
        seed: Seed of the intervals.
        resamples: Their resamples.

    Returns:
        The sizes of the split; ``accuracy``; ``per_class`` precision, recall, F1 and support; ``confusion`` (rows true, columns
        predicted); ``temperature``; calibration error ``before`` and ``after``; ``reliability``, the bins that it
        is made of; ``abstention``, accuracy by share decided; ``tested``, prompt by prompt whether each tested text was named right, for
        comparing two learners.

    Raises:
        ValueError: No text is left to calibrate on.
    """
    from sklearn.metrics import confusion_matrix

    draws: dict[str, Any] = {"seed": seed, "resamples": resamples}
    temperature = fit_temperature(logits_NK[split.calibrate], labels_N[split.calibrate])
    before, after = softmax(logits_NK[split.test]), softmax(logits_NK[split.test] / temperature)
    predicted, confidence = after.argmax(1), after.max(1)
    truth = labels_N[split.test]
    asked = [prompt for prompt, is_tested in zip(prompts, split.test, strict=True) if is_tested]
    right = (predicted == truth).astype(float)
    errors = {
        when: vars(calibration_interval(said.max(1), right, asked, **draws))
        for when, said in (("before", before), ("after", after))
    }
    return {
        **split.sizes,
        "accuracy": vars(cluster_rate(right.tolist(), asked, **draws)),
        "per_class": {
            name: _of_class(truth == place, predicted == place, asked, draws) for place, name in enumerate(names)
        },
        "confusion": confusion_matrix(truth, predicted, labels=range(len(names))).tolist(),
        "temperature": temperature,
        "calibration_error": errors,
        "reliability": {when: reliability(said.max(1), right) for when, said in (("before", before), ("after", after))},
        "abstention": [_decided(share, confidence, right, asked, draws) for share in COVERAGES],
        "tested": {"prompts": asked, "right": right.tolist()},
    }


def _of_class(
    is_so_N: np.ndarray, said_N: np.ndarray, prompts: Sequence[str], draws: Mapping[str, Any]
) -> dict[str, Any]:
    """Precision, recall, F1 and number of texts of one class."""

    def share(of_N: np.ndarray, among_N: np.ndarray, missing: str) -> dict[str, Any]:
        if not among_N.any():
            return {"value": None, "reason": missing}
        clusters = [prompt for prompt, counts in zip(prompts, among_N, strict=True) if counts]
        return vars(cluster_rate(of_N[among_N].astype(float).tolist(), clusters, **draws))

    never, none = "no tested text was taken for this class", "no tested text is of this class"
    both = np.stack([is_so_N & said_N, is_so_N, said_N], axis=1)
    return {
        "precision": share(is_so_N, said_N, never),
        "recall": share(said_N, is_so_N, none),
        "f1": vars(cluster_statistic(both, prompts, _f1, **draws))
        if both.any()
        else {"value": None, "reason": f"{none}, and none was taken for it"},
        "support": int(is_so_N.sum()),
    }


def _f1(sums_K: np.ndarray) -> np.ndarray:
    """F1 from sums of hits, of texts of the class and of texts taken for it; NaN where there is neither."""
    total = sums_K[..., 1] + sums_K[..., 2]
    found: np.ndarray = np.divide(2 * sums_K[..., 0], total, out=np.full(total.shape, np.nan), where=total > 0)
    return found


def _decided(
    share: float, confidence_N: np.ndarray, right_N: np.ndarray, prompts: Sequence[str], draws: Mapping[str, Any]
) -> dict[str, Any]:
    """Accuracy when only the surest texts are decided, and the confidence from which they are."""
    kept = np.argsort(-confidence_N, kind="stable")[: max(1, round(share * len(confidence_N)))]
    accuracy = cluster_rate(right_N[kept].tolist(), [prompts[place] for place in kept], **draws)
    return {"decided": share, "threshold": float(confidence_N[kept].min()), "accuracy": vars(accuracy)}
