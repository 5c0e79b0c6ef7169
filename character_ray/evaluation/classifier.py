"""A persona classifier that shares nothing with the likelihood judge: a sentence encoder, frozen under a logistic head or fine-tuned.

Trained on chosen and introspection text against plain completions, and measured as the classifier over several personas is
(:mod:`character_ray.evaluation.held_out`): split by prompt, calibrated by a temperature on prompts of its own, and split by generator.

Axes: N texts, D width of the features.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from character_ray.evaluation.calibration import calibration_interval, reliability, softmax
from character_ray.evaluation.generators import across_generators
from character_ray.evaluation.held_out import LabelledText, measure_held_out, split_texts
from character_ray.evaluation.multiclass import MIN_TEXTS, NONE, Head, Learner, fit_head, on_features
from character_ray.statistics import cluster_rate

__all__ = ["IN_CHARACTER", "LIKELIER", "SURE", "Encoder", "FrozenEncoder", "PersonaClassifier", "decided"]

IN_CHARACTER = "in_character"
"""Class of the persona's text; plain text has the class ``none``."""
LIKELIER = 0.5
"""Probability of being in character above which a text is counted as that."""
SURE = 0.9
"""Probability of either class from which an answer is decided."""
CLASSES = ("plain", IN_CHARACTER)


class Encoder(Protocol):
    """Learns two classes of texts and says logits of them, of shape ``(N, 2)``."""

    def train(self, texts: Sequence[str], labels_N: np.ndarray, train_N: np.ndarray) -> np.ndarray:
        """Learn the marked texts; what it then says of all, where rows that were learnt may be NaN."""

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """What the training says of texts that are none of its own."""

    def learner(self, texts: Sequence[str]) -> Learner:
        """Further trainings, on these texts and from the untrained encoder, that leave the first as it is."""


class FrozenEncoder:
    """A logistic head on a sentence encoder that stays as it is.

    Args:
        folder: Folder of a sentence-transformers model.
    """

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        self._encoder = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        self._known: dict[str, np.ndarray] = {}
        self._head: Head | None = None

    def train(self, texts: Sequence[str], labels_N: np.ndarray, train_N: np.ndarray) -> np.ndarray:
        """Fit the head on the marked texts; what it says of all."""
        features = self._embed(texts)
        self._head = fit_head(features[train_N], labels_N[train_N], 2)
        return self._head(features)

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """What the head says."""
        assert self._head is not None, "train comes first"
        return self._head(self._embed(texts))

    def learner(self, texts: Sequence[str]) -> Learner:
        """New heads on the same encoder."""
        return on_features(self._embed(texts))

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        """Features of shape ``(N, D)``; a text is read once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            vectors = self._encoder.encode(new, batch_size=64, show_progress_bar=False)
            self._known.update(zip(new, np.asarray(vectors), strict=True))
        return np.stack([self._known[text] for text in texts])


class PersonaClassifier:
    """Says how likely a text is the persona's.

    Args:
        encoder: What learns.
        name: What the report calls it.
    """

    def __init__(self, encoder: Encoder, name: str) -> None:
        self._encoder, self._name, self._temperature = encoder, name, 1.0

    def fit(self, rows: Sequence[LabelledText], *, seed: int, resamples: int = 1000) -> dict[str, Any]:
        """Train on three fifths of the prompts, calibrate on one and measure on the last.

        Args:
            rows: Texts of the persona and plain ones.
            seed: Seed of the split and of the intervals.
            resamples: Bootstrap resamples of the intervals.

        Returns:
            The fields of :class:`character_ray.report.classifier_schema.Classifier` that need no answers of the arms.

        Raises:
            ValueError: A class has fewer than eight texts, or the prompts are too few to calibrate and test on others.
        """
        labels = np.array([int(row.label != NONE) for row in rows])
        if min(labels.sum(), len(labels) - labels.sum()) < MIN_TEXTS:
            raise ValueError(
                f"{labels.sum()} in-character and {len(labels) - labels.sum()} plain texts are too few for a classifier; "
                f"{MIN_TEXTS} of each are needed"
            )
        prompts, split = [row.prompt for row in rows], split_texts(rows, seed)
        if len(np.unique(labels[split.train])) < 2:
            raise ValueError(
                f"the {split.train.sum()} texts on three fifths of the prompts and not tested are of one class; more prompts are "
                "needed"
            )
        logits = self._encoder.train([row.text for row in rows], labels, split.train)
        measured = measure_held_out(CLASSES, logits, labels, prompts, split, seed=seed, resamples=resamples)
        self._temperature = measured["temperature"]
        before, after = (softmax(logits[split.test] / t)[:, 1] for t in (1.0, self._temperature))
        truth, asked = labels[split.test], [prompts[place] for place in np.flatnonzero(split.test)]
        errors = [
            vars(calibration_interval(own, truth, asked, seed=seed, resamples=resamples)) for own in (before, after)
        ]
        kept = (
            "num_train",
            "num_calibrate",
            "num_test",
            "repeated",
            "accuracy",
            "confusion",
            "temperature",
            "abstention",
        )
        return {
            "encoder": self._name,
            **{name: measured[name] for name in kept},
            "classes": measured["per_class"],
            "uncalibrated_error": errors[0],
            "expected_calibration_error": errors[1],
            "uncalibrated_reliability": reliability(before, truth),
            "reliability": reliability(after, truth),
        }

    def probability(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated probability that each text is the persona's; shape ``(N,)``."""
        probability: np.ndarray = softmax(self._encoder.logits(texts) / self._temperature)[:, 1]
        return probability

    def across_generators(
        self, rows: Sequence[LabelledText], plain: str, *, seed: int, resamples: int = 1000
    ) -> dict[str, dict[str, Any]]:
        """New trainings, each on one generator and tested on all (:func:`character_ray.evaluation.generators.across_generators`)."""
        learn = self._encoder.learner([row.text for row in rows])
        return across_generators(rows, plain, learn, seed=seed, resamples=resamples)


def decided(probability_N: np.ndarray, prompts: Sequence[str], *, seed: int, resamples: int = 1000) -> dict[str, Any]:
    """What the classifier says of an arm's answers when it may leave open what it is not sure of.

    Args:
        probability_N: Probability of each answer, at least one.
        prompts: Prompt of each.
        seed: Seed of the intervals.
        resamples: Bootstrap resamples of the intervals.

    Returns:
        ``decided_rate``, the share of answers with a class of at least :data:`SURE`, and ``persona_rate``, the share in character of those.
    """
    draws: dict[str, Any] = {"seed": seed, "resamples": resamples}
    sure = np.maximum(probability_N, 1 - probability_N) >= SURE
    asked = [prompt for prompt, is_sure in zip(prompts, sure, strict=True) if is_sure]
    return {
        "decided_rate": vars(cluster_rate(sure.astype(float).tolist(), prompts, **draws)),
        "persona_rate": vars(cluster_rate((probability_N[sure] > LIKELIER).astype(float).tolist(), asked, **draws))
        if asked
        else {"value": None, "reason": "it is sure of no answer"},
    }
