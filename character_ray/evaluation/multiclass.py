"""Which persona is it, or none? A classifier over all personas at once, measured where it could fool itself.

    texts with class, prompt and generator -> split by prompt: train | calibrate | test -> and by generator: one writes, another is tested

- No prompt and no text stands on two sides; texts that would are counted and left out of training.
- Confidence is calibrated by one temperature (Guo et al. 2017), fitted on prompts that neither training nor test sees.
- A text whose class is not likely enough may be left undecided: accuracy is given by share of texts decided.
- A generator (an arm, or a model) is left out of training and tested on: what was learnt must be the persona, not one model's style.

Whatever can learn may be measured: a logistic regression on the features of a frozen encoder, or a fine-tuned model.

Axes: N texts, K classes, D width of the features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from character_ray.statistics import Interval, cluster_rate

__all__ = [
    "NONE",
    "LabelledText",
    "Learner",
    "calibration_error",
    "fit_temperature",
    "measure_classes",
    "on_features",
    "split_prompts",
]

NONE = "none"
"""Class of plain text."""

BINS = 10
MIN_TEXTS = 8
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)


@dataclass(frozen=True)
class LabelledText:
    """A text of known class."""

    text: str
    label: str
    prompt: str
    generator: str
    """What wrote it, such as ``teacher`` or ``full``."""


Learner = Callable[[Sequence[np.ndarray], np.ndarray, int], list[np.ndarray]]
"""Trains once on the texts of each mask, ``(N,)``, given the labels of all and the number of classes; returns logits, ``(N, K)``, for each
mask. Rows that were trained on may be NaN."""


def measure_classes(
    rows: Sequence[LabelledText], learn: Learner, *, seed: int, resamples: int = 1000
) -> dict[str, Any]:
    """Train on three fifths of the prompts, calibrate on one, measure on the last; then once more for each generator.

    Args:
        rows: All texts; plain ones have the class ``none``.
        learn: What is trained and measured; it is given no label that it may not see by its mask.
        seed: Seed of the split and of the intervals.
        resamples: Bootstrap resamples of the intervals.

    Returns:
        ``classes``; ``accuracy``; ``per_class`` precision, recall, F1 and support; ``confusion`` (rows true, columns predicted);
        ``temperature``; calibration error ``before`` and ``after``; ``abstention``, accuracy by share decided; ``generators``, accuracy on
        texts of a generator that training never saw; ``repeated``, texts left out of training because they are tested on too; ``tested``,
        prompt by prompt whether each tested text was named right, for comparing two learners.

    Raises:
        ValueError: There are fewer than two classes, or one has fewer than eight texts.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    names = [NONE, *sorted({row.label for row in rows} - {NONE})]
    labels = np.array([names.index(row.label) for row in rows])
    counts = np.bincount(labels, minlength=len(names))
    if len(names) < 2 or counts.min() < MIN_TEXTS:
        few = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
        raise ValueError(f"texts by class: {few}. A classifier needs two classes and {MIN_TEXTS} texts of each")
    train, calibrate, test = split_prompts([row.prompt for row in rows], seed)
    tested = {row.text for row, is_tested in zip(rows, test, strict=True) if is_tested}
    repeated = np.array([row.text in tested for row in rows]) & ~test
    left_out = _leave_generators_out(rows, labels, seed)
    masks = [train & ~repeated, *(fold.train for fold in left_out)]
    logits, *across = learn(masks, labels, len(names))
    held = calibrate & ~repeated
    temperature = fit_temperature(logits[held], labels[held])
    before, after = _softmax(logits[test]), _softmax(logits[test] / temperature)
    predicted, confidence = after.argmax(1), after.max(1)
    truth, prompts = labels[test], [row.prompt for row, is_tested in zip(rows, test, strict=True) if is_tested]
    right = (predicted == truth).astype(float)
    columns = precision_recall_fscore_support(truth, predicted, labels=range(len(names)), zero_division=0.0)
    return {
        "classes": names,
        "num_train": int((train & ~repeated).sum()),
        "num_calibrate": int(held.sum()),
        "num_test": int(test.sum()),
        "repeated": int(repeated.sum()),
        "accuracy": vars(cluster_rate(right.tolist(), prompts, seed=seed, resamples=resamples)),
        "per_class": {
            name: {
                key: float(column[place])
                for key, column in zip(("precision", "recall", "f1", "support"), columns, strict=True)
            }
            for place, name in enumerate(names)
        },
        "confusion": confusion_matrix(truth, predicted, labels=range(len(names))).tolist(),
        "temperature": temperature,
        "calibration_error": {
            "before": calibration_error(before.max(1), (before.argmax(1) == truth).astype(float)),
            "after": calibration_error(confidence, right),
        },
        "abstention": [_decided(share, confidence, right, prompts, seed, resamples) for share in COVERAGES],
        "generators": {
            fold.generator: vars(_accuracy(rows, fold.test, own.argmax(1) == labels, seed, resamples))
            for fold, own in zip(left_out, across, strict=True)
        },
        "tested": {"prompts": prompts, "right": right.tolist()},
    }


def on_features(features_ND: np.ndarray) -> Learner:
    """A logistic regression on features from an encoder that knows nothing of the classes."""

    def learn_one(train_N: np.ndarray, labels_N: np.ndarray, num_classes: int) -> np.ndarray:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(class_weight="balanced", max_iter=2000, C=10.0)
        model.fit(features_ND[train_N], labels_N[train_N])
        # A class that was not trained on is next to impossible.
        logits_NK = np.full((len(features_ND), num_classes), -700.0)
        logits_NK[:, model.classes_] = np.maximum(model.predict_log_proba(features_ND), -700.0)
        return logits_NK

    def learn(masks: Sequence[np.ndarray], labels_N: np.ndarray, num_classes: int) -> list[np.ndarray]:
        return [learn_one(train_N, labels_N, num_classes) for train_N in masks]

    return learn


def split_prompts(prompts: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks of the texts to train on, to calibrate on and to test on: three, one and one fifths of the prompts."""
    names = np.random.default_rng(seed).permutation(sorted(set(prompts)))
    cuts = (len(names) * 3 // 5, len(names) * 4 // 5)
    parts = [set(part.tolist()) for part in np.split(names, cuts)]
    train, calibrate, test = (np.array([prompt in part for prompt in prompts]) for part in parts)
    return train, calibrate, test


def fit_temperature(logits_NK: np.ndarray, labels_N: np.ndarray) -> float:
    """The temperature under which the labels are likeliest; above 1 the logits were too sure.

    Labels that are all guessed right would be likeliest at temperature 0, that is in certainty. So each label counts for one text in
    ``N + 2`` less, spread over the other classes, as Platt (1999) does.

    Raises:
        ValueError: There is nothing to fit on.
    """
    from scipy.optimize import minimize_scalar

    if len(labels_N) == 0:
        raise ValueError("no text is left to calibrate on")

    spared = 1 / (len(labels_N) + 2)
    target_NK = np.full(logits_NK.shape, spared / (logits_NK.shape[1] - 1))
    target_NK[np.arange(len(labels_N)), labels_N] = 1 - spared

    def loss(log_temperature: float) -> float:
        log_p = np.log(np.maximum(_softmax(logits_NK / np.exp(log_temperature)), 1e-300))
        return float(-(target_NK * log_p).sum(1).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def calibration_error(confidence_N: np.ndarray, right_N: np.ndarray) -> float:
    """Expected calibration error: mean distance of confidence from accuracy over ten bins, weighted by their size."""
    place_N = np.minimum((confidence_N * BINS).astype(int), BINS - 1)
    gaps = [
        abs(confidence_N[place_N == place].mean() - right_N[place_N == place].mean()) * (place_N == place).mean()
        for place in np.unique(place_N)
    ]
    return float(sum(gaps))


@dataclass(frozen=True)
class _Fold:
    """A generator that training does not see."""

    generator: str
    train: np.ndarray
    test: np.ndarray


def _leave_generators_out(rows: Sequence[LabelledText], labels_N: np.ndarray, seed: int) -> list[_Fold]:
    """For each generator its texts on tested prompts, and the other generators' texts on all other prompts."""
    generators = np.array([row.generator for row in rows])
    train, calibrate, test = split_prompts([row.prompt for row in rows], seed)
    folds = []
    for name in sorted(set(generators.tolist())):
        asked = test & (generators == name)
        tested = {row.text for row, is_asked in zip(rows, asked, strict=True) if is_asked}
        repeated = np.array([row.text in tested for row in rows])
        learnt = (train | calibrate) & (generators != name) & ~repeated
        # A class that only this generator writes cannot be learnt from the others.
        known = asked & np.isin(labels_N, np.unique(labels_N[learnt]))
        if known.any() and len(np.unique(labels_N[learnt])) >= 2:
            folds.append(_Fold(name, learnt, known))
    return folds


def _accuracy(
    rows: Sequence[LabelledText], tested_N: np.ndarray, right_N: np.ndarray, seed: int, resamples: int
) -> Interval:
    prompts = [row.prompt for row, is_tested in zip(rows, tested_N, strict=True) if is_tested]
    return cluster_rate(right_N[tested_N].astype(float).tolist(), prompts, seed=seed, resamples=resamples)


def _decided(
    share: float, confidence_N: np.ndarray, right_N: np.ndarray, prompts: Sequence[str], seed: int, resamples: int
) -> Mapping[str, Any]:
    """Accuracy when only the surest texts are decided, and the confidence from which they are."""
    kept = np.argsort(-confidence_N, kind="stable")[: max(1, round(share * len(confidence_N)))]
    accuracy = cluster_rate(right_N[kept].tolist(), [prompts[place] for place in kept], seed=seed, resamples=resamples)
    return {"decided": share, "threshold": float(confidence_N[kept].min()), "accuracy": vars(accuracy)}


def _softmax(logits_NK: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits_NK - logits_NK.max(1, keepdims=True))
    found: np.ndarray = shifted / shifted.sum(1, keepdims=True)
    return found
