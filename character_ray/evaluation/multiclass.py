"""Which persona is it, or none? A classifier over all personas at once, measured where it could fool itself.

    texts with class, prompt and generator -> split by prompt: train | calibrate | test -> and by generator: one writes, another is tested

How it is measured on the split by prompt says :mod:`character_ray.evaluation.held_out`. Then a generator (an arm, or a model) is left out
of training and tested on: what was learnt must be the persona, not one model's style.

Whatever can learn may be measured: a logistic regression on the features of a frozen encoder, or a fine-tuned model.

Axes: N texts, K classes, D width of the features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from character_ray.evaluation.held_out import LabelledText, measure_held_out, split_prompts, split_texts
from character_ray.statistics import Interval, cluster_rate

__all__ = ["MIN_TEXTS", "NONE", "Head", "Learner", "class_names", "fit_head", "measure_classes", "on_features"]

NONE = "none"
"""Class of plain text."""

MIN_TEXTS = 8
"""Texts of each class below which nothing is trained."""

Learner = Callable[[Sequence[np.ndarray], np.ndarray, int], list[np.ndarray]]
"""Trains once on the texts of each mask, ``(N,)``, given the labels of all and the number of classes; returns logits, ``(N, K)``, for each
mask. Rows that were trained on may be NaN."""

Head = Callable[[np.ndarray], np.ndarray]
"""Says of features, ``(N, D)``, the logits, ``(N, K)``."""


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
        ``classes``; what :func:`character_ray.evaluation.held_out.measure_held_out` says of them; ``generators``, accuracy on texts of a
        generator that training never saw.

    Raises:
        ValueError: There are fewer than two classes, or one has fewer than eight texts.
    """
    names = class_names(rows)
    labels = np.array([names.index(row.label) for row in rows])
    counts = np.bincount(labels, minlength=len(names))
    if len(names) < 2 or counts.min() < MIN_TEXTS:
        few = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
        raise ValueError(f"texts by class: {few}. A classifier needs two classes and {MIN_TEXTS} texts of each")
    split = split_texts(rows, seed)
    left_out = _leave_generators_out(rows, labels, seed)
    logits, *across = learn([split.train, *(fold.train for fold in left_out)], labels, len(names))
    prompts = [row.prompt for row in rows]
    return {
        "classes": names,
        **measure_held_out(names, logits, labels, prompts, split, seed=seed, resamples=resamples),
        "generators": {
            fold.generator: vars(_accuracy(rows, fold.test, own.argmax(1) == labels, seed, resamples))
            for fold, own in zip(left_out, across, strict=True)
        },
    }


def class_names(rows: Sequence[LabelledText]) -> list[str]:
    """The classes of texts in the order of logits and confusion: ``none``, then the personas by name."""
    return [NONE, *sorted({row.label for row in rows} - {NONE})]


def fit_head(features_ND: np.ndarray, labels_N: np.ndarray, num_classes: int) -> Head:
    """A logistic regression on features from an encoder that knows nothing of the classes.

    Raises:
        ValueError: All texts are of one class.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(class_weight="balanced", max_iter=2000, C=10.0).fit(features_ND, labels_N)

    def logits(features_ND: np.ndarray) -> np.ndarray:
        # A class that was not trained on is next to impossible.
        found_NK = np.full((len(features_ND), num_classes), -700.0)
        found_NK[:, model.classes_] = np.maximum(model.predict_log_proba(features_ND), -700.0)
        return found_NK

    return logits


def on_features(features_ND: np.ndarray) -> Learner:
    """:func:`fit_head` on the features of the texts."""

    def learn(masks: Sequence[np.ndarray], labels_N: np.ndarray, num_classes: int) -> list[np.ndarray]:
        return [fit_head(features_ND[train_N], labels_N[train_N], num_classes)(features_ND) for train_N in masks]

    return learn


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
