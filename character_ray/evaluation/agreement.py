"""How far two ways of deciding the same answers agree, beyond what chance would give."""

import math
import warnings
from typing import Any

import numpy as np

__all__ = ["agreement"]


def agreement(first: str, second: str, first_N: np.ndarray, second_N: np.ndarray) -> dict[str, Any]:
    """Two ways of deciding on the same answers.

    Args:
        first: Name of the one.
        second: Name of the other.
        first_N: What it decided, booleans.
        second_N: The other's decisions, in the same order; at least one.

    Returns:
        The fields of :class:`character_ray.report.schema.Agreement`; ``kappa`` is Cohen's (1960), ``None`` where both always say the same
        one thing, so that chance explains everything.
    """
    from sklearn.exceptions import UndefinedMetricWarning
    from sklearn.metrics import cohen_kappa_score

    # Where kappa is not defined, scikit-learn warns and gives NaN.
    with warnings.catch_warnings(action="ignore", category=UndefinedMetricWarning):
        kappa = float(cohen_kappa_score(first_N, second_N, labels=[False, True]))
    return {
        "first": first,
        "second": second,
        "agreement": float((first_N == second_N).mean()),
        "kappa": None if math.isnan(kappa) else kappa,
        "n": len(first_N),
        "only_first": int((first_N & ~second_N).sum()),
        "only_second": int((~first_N & second_N).sum()),
    }
