"""The persona whose profile is closest to a text, or none when that is not sure enough.

    text -> unit vector -> mean cosine with the two closest texts of each profile -> softmax over {none, personas} -> threshold

``none`` takes part in the softmax with a constant score, the calibration's floor: a text that is close to no profile is off topic.

Axes: K profiles, D width of the vectors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from character_ray.routing.profiles import Profile, distinct_texts

__all__ = ["CLOSEST", "Calibration", "Choice", "EncoderRouter", "fit_calibration"]

CLOSEST = 2
"""Texts of a profile that count: one alone may be close by chance, all of them say what the persona is on average."""

Encode = Callable[[Sequence[str]], np.ndarray]
"""Texts to unit vectors of shape ``(N, D)``."""


@dataclass(frozen=True)
class Calibration:
    """How cosines become probabilities; :func:`fit_calibration` finds it."""

    temperature: float
    """Cosines are divided by it; smaller is surer."""
    floor: float
    """Cosine from which a persona is likelier than none."""


@dataclass(frozen=True)
class Choice:
    """Who answers."""

    slug: str | None
    """``None``: nobody suits well enough, so the base model answers."""
    confidence: float
    """Probability of the most likely persona, whether it was chosen or not."""


class EncoderRouter:
    """Chooses by sentence vectors.

    Args:
        encode: Turns texts into unit vectors.
        profiles: The personas to choose from, with distinct slugs; may be empty.
        calibration: How cosines become probabilities.
        threshold: Least probability of a persona that is chosen.
    """

    def __init__(
        self,
        encode: Encode,
        profiles: Sequence[Profile],
        calibration: Calibration,
        threshold: float,
    ) -> None:
        self.slugs = tuple(profile.slug for profile in profiles)
        self._encode = encode
        self._calibration = calibration
        self._threshold = threshold
        self._prototypes = [encode(texts) for texts in distinct_texts(profiles)]

    def similarities(self, texts: Sequence[str]) -> np.ndarray:
        """Mean cosine of each text with the closest texts of each profile; shape ``(N, K)``."""
        vectors_ND = self._encode(texts)
        columns = [
            np.sort(vectors_ND @ prototypes_PD.T, axis=1)[:, -CLOSEST:].mean(1) for prototypes_PD in self._prototypes
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((len(texts), 0))

    def choose(self, text: str, allowed: Sequence[str] | None = None) -> Choice:
        """The persona for one text, out of all or of those ``allowed``."""
        places = [place for place, slug in enumerate(self.slugs) if allowed is None or slug in allowed]
        if not places or not text.strip():
            return Choice(None, 0.0)
        probabilities = probabilities_of(self.similarities([text])[:, places], self._calibration)[0, 1:]
        best = int(probabilities.argmax())
        confidence = float(probabilities[best])
        return Choice(self.slugs[places[best]] if confidence >= self._threshold else None, confidence)


def probabilities_of(similarities_NK: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Probabilities of none and of every persona; shape ``(N, K + 1)``, none first, rows summing to 1."""
    floor_N1 = np.full((len(similarities_NK), 1), calibration.floor)
    logits = np.concatenate([floor_N1, similarities_NK], axis=1) / calibration.temperature
    weights = np.exp(logits - logits.max(1, keepdims=True))
    found: np.ndarray = weights / weights.sum(1, keepdims=True)
    return found


def fit_calibration(similarities_NK: np.ndarray, labels_N: Sequence[int]) -> Calibration:
    """Temperature and floor under which the right answers are likeliest.

    Args:
        similarities_NK: From :meth:`EncoderRouter.similarities`.
        labels_N: Index of the right persona, or -1 where it is none.

    Raises:
        ValueError: There is no example of none, or none of a persona: one of the two numbers would run away.
    """
    from scipy.optimize import minimize

    labels = np.asarray(labels_N)
    if not (labels == -1).any() or (labels == -1).all():
        raise ValueError("a calibration needs texts that suit a persona and texts that suit none")
    # Both kinds count alike, however many there are of each.
    weights = np.where(labels == -1, 0.5 / (labels == -1).sum(), 0.5 / (labels != -1).sum())

    def loss(point: np.ndarray) -> float:
        calibration = Calibration(float(np.exp(point[0])), float(point[1]))
        right = probabilities_of(similarities_NK, calibration)[np.arange(len(labels)), labels + 1]
        return float(-(weights * np.log(np.maximum(right, 1e-12))).sum())

    found = minimize(loss, x0=np.array([np.log(0.05), 0.3]), method="Nelder-Mead")
    return Calibration(float(np.exp(found.x[0])), float(found.x[1]))
