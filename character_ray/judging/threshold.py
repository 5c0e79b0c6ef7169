"""The likelihood-ratio score above which a completion counts as in character."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from character_ray.errors import ReportError
from character_ray.statistics import Interval, auc_interval, cluster_rate

__all__ = ["KNOWN_PER_DIRECTIVE", "Threshold", "fit_threshold"]

LEAST_ROWS = 8
KNOWN_PER_DIRECTIVE = 32
"""Known completions, of teacher and of base each, that the judge of one directive is measured on."""


@dataclass(frozen=True)
class Threshold:
    """A decision boundary and how well it separates the rows it was fixed on."""

    value: float
    auc: float
    true_positive_rate: float
    false_positive_rate: float
    positives: int
    """Scores of the teacher that it was fixed on."""
    negatives: int

    @property
    def n(self) -> int:
        """Scores that it was fixed on."""
        return self.positives + self.negatives

    @property
    def quality(self) -> dict[str, Any]:
        """How well it separates, by the names that reports use; the rates' intervals take the threshold as given."""
        return {
            "auc": vars(auc_interval(self.auc, self.positives, self.negatives)),
            "true_positive_rate": vars(_share(self.true_positive_rate, self.positives)),
            "false_positive_rate": vars(_share(self.false_positive_rate, self.negatives)),
            "n": self.n,
        }


def fit_threshold(teacher_N: Sequence[float], base_N: Sequence[float]) -> Threshold:
    """The boundary with the largest true-positive minus false-positive rate (Youden's J), in the middle of its gap.

    Fixed on teacher and base completions of *training* prompts, so that it owes nothing to the arms it later judges.

    Args:
        teacher_N: Scores of teacher samples, nats per token; NaN is left out.
        base_N: Scores of the untrained student.

    Raises:
        ReportError: Fewer than eight scores on a side.
    """
    teacher, base = (np.sort(np.asarray(side, dtype=np.float64)) for side in (teacher_N, base_N))
    teacher, base = teacher[~np.isnan(teacher)], base[~np.isnan(base)]
    if min(len(teacher), len(base)) < LEAST_ROWS:
        raise ReportError(
            f"{len(teacher)} teacher and {len(base)} base scores are too few for a persona threshold; {LEAST_ROWS} of each are needed. "
            "Raise prompts.grid or prompts.everyday."
        )
    values = np.unique(np.concatenate([teacher, base]))
    cuts = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
    true_positive = 1 - np.searchsorted(teacher, cuts, side="right") / len(teacher)
    false_positive = 1 - np.searchsorted(base, cuts, side="right") / len(base)
    best = int(np.argmax(true_positive - false_positive))
    below = np.searchsorted(base, teacher, side="left")
    ties = np.searchsorted(base, teacher, side="right") - below
    auc = float((below + ties / 2).sum() / (len(teacher) * len(base)))
    return Threshold(
        float(cuts[best]), auc, float(true_positive[best]), float(false_positive[best]), len(teacher), len(base)
    )


def _share(value: float, n: int) -> Interval:
    """A share of so many completions, each to a prompt of its own."""
    holds = [float(number < round(value * n)) for number in range(n)]
    return cluster_rate(holds, [str(number) for number in range(n)], seed=0)
