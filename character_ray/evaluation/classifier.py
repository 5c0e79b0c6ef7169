"""A persona classifier that shares nothing with the likelihood judge: a frozen sentence encoder and a logistic head.

Trained on chosen and introspection text against plain completions, split by prompt: no prompt stands on both sides.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from character_ray.evaluation.multiclass import calibration_error
from character_ray.statistics import cluster_rate

__all__ = ["PersonaClassifier", "reliability"]

TEST_SHARE = 0.25
BINS = 10
CLASSES = ("plain", "in_character")


class PersonaClassifier:
    """Says how likely a text is the persona's.

    Args:
        encoder: Folder of a sentence-transformers model.
        name: What the report calls it.
    """

    def __init__(self, encoder: Path, name: str) -> None:
        from sentence_transformers import SentenceTransformer

        self._encoder = SentenceTransformer(str(encoder), device="cpu", local_files_only=True)
        self._name = name
        self._head: Any = None

    def fit(self, texts: Sequence[str], labels: Sequence[bool], prompts: Sequence[str], *, seed: int) -> dict[str, Any]:
        """Train on three quarters of the prompts and measure on the rest.

        Returns:
            The fields of :class:`character_ray.report.schema.Classifier`.

        Raises:
            ValueError: A class has fewer than eight texts.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import precision_recall_fscore_support
        from sklearn.model_selection import GroupShuffleSplit

        y = np.asarray(labels, dtype=int)
        if min(y.sum(), len(y) - y.sum()) < 8:
            raise ValueError(
                f"{y.sum()} in-character and {len(y) - y.sum()} plain texts are too few for a classifier; 8 of each are needed"
            )
        features = self._embed(texts)
        train, test = next(
            GroupShuffleSplit(1, test_size=TEST_SHARE, random_state=seed).split(features, y, list(prompts))
        )
        self._head = LogisticRegression(class_weight="balanced", max_iter=1000, C=10.0).fit(features[train], y[train])
        probability = self._head.predict_proba(features[test])[:, 1]
        right = (probability > 0.5) == y[test].astype(bool)
        accuracy = cluster_rate(right.astype(float), [prompts[i] for i in test], seed=seed)
        columns = precision_recall_fscore_support(y[test], probability > 0.5, labels=[0, 1], zero_division=0.0)
        keys = ("precision", "recall", "f1", "support")
        return {
            "encoder": self._name,
            "num_train": len(train),
            "num_test": len(test),
            "accuracy": vars(accuracy),
            "classes": {
                name: dict(zip(keys, (column[i].item() for column in columns), strict=True))
                for i, name in enumerate(CLASSES)
            },
            "expected_calibration_error": calibration_error(probability, y[test]),
            "reliability": reliability(probability, y[test]),
        }

    def probability(self, texts: Sequence[str]) -> np.ndarray:
        """Probability that each text is the persona's; shape ``(N,)``."""
        probability: np.ndarray = self._head.predict_proba(self._embed(texts))[:, 1]
        return probability

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.asarray(self._encoder.encode(list(texts), batch_size=64, show_progress_bar=False))


def reliability(probability_N: np.ndarray, labels_N: np.ndarray) -> list[dict[str, float]]:
    """Ten bins of equal width, those without a text left out: mean probability, share that is in character, and number of texts."""
    bins = np.minimum((probability_N * BINS).astype(int), BINS - 1)
    return [
        {
            "confidence": float(probability_N[bins == number].mean()),
            "observed": float(labels_N[bins == number].mean()),
            "n": float((bins == number).sum()),
        }
        for number in range(BINS)
        if (bins == number).any()
    ]
