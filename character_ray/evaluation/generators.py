"""Whether a classifier has learnt the persona or one writer's style: trained on the texts of one generator, tested on another's.

Every text is tested once, by a training that saw neither its prompt nor the same text.

Axes: N texts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from character_ray.evaluation.held_out import LabelledText, fold_prompts
from character_ray.evaluation.multiclass import MIN_TEXTS, NONE, Learner
from character_ray.statistics import cluster_rate

__all__ = ["across_generators"]


def across_generators(
    rows: Sequence[LabelledText], plain: str, learn: Learner, *, seed: int, resamples: int = 1000
) -> dict[str, dict[str, Any]]:
    """Share of each generator's texts that is named right, after training on one generator of the persona's texts and on plain text.

    Args:
        rows: Texts of the persona and plain ones (class ``none``).
        plain: The generator whose plain texts every training sees.
        learn: What is trained.
        seed: Seed of the folds and of the intervals.
        resamples: Bootstrap resamples of the intervals.

    Returns:
        By the generator trained on, by the generator tested on; its own texts are on other prompts than it was trained on. Generators with
        fewer than eight texts of the persona are tested alone.
    """
    generators = np.array([row.generator for row in rows])
    labels = np.array([int(row.label != NONE) for row in rows])
    folds = fold_prompts([row.prompt for row in rows], seed)
    trainings: dict[str, list[np.ndarray]] = {}
    for name in dict.fromkeys(generators[labels == 1].tolist()):
        masks = _masks(rows, (generators == name) | (generators == plain), folds)
        if (generators == name).sum() >= MIN_TEXTS and all(len(np.unique(labels[mask])) == 2 for mask in masks):
            trainings[name] = masks
    said = learn([mask for masks in trainings.values() for mask in masks], labels, 2)
    found: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(trainings):
        right = np.zeros(len(rows))
        for fold, own in zip(folds, said[place * len(folds) : (place + 1) * len(folds)], strict=True):
            right[fold] = own[fold].argmax(1) == labels[fold]
        found[name] = {
            other: vars(
                cluster_rate(
                    right[generators == other].tolist(),
                    [row.prompt for row in rows if row.generator == other],
                    seed=seed,
                    resamples=resamples,
                )
            )
            for other in dict.fromkeys(generators.tolist())
        }
    return found


def _masks(rows: Sequence[LabelledText], own_N: np.ndarray, folds: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each fold the texts to train on: none that is tested, on its prompts or on others."""
    masks = []
    for fold in folds:
        tested = {row.text for row, is_tested in zip(rows, fold, strict=True) if is_tested}
        masks.append(own_N & np.array([row.text not in tested for row in rows], dtype=bool))
    return masks
