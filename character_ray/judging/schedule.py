"""Which pairs of contestants to judge next."""

from collections.abc import Sequence
from itertools import combinations
from math import erfc, sqrt
from typing import Literal

from character_ray.judging.davidson import Fit, pair_uncertainty

__all__ = ["Pair", "Schedule", "all_pairs", "next_pairs"]

Pair = tuple[int, int]
"""Numbers of two contestants, the smaller first."""

Schedule = Literal["uniform", "active"]


def all_pairs(players: int) -> list[Pair]:
    """Every pair of contestants."""
    return list(combinations(range(players), 2))


def next_pairs(open_pairs: Sequence[Pair], fit: Fit | None, schedule: Schedule, most: int) -> list[Pair]:
    """The pairs of the next round.

    ``uniform`` asks every pair that is still open. ``active`` asks the ``most`` pairs whose order is least certain by the ratings so
    far: those with the largest probability of standing the wrong way round and, among equals, the largest standard error.

    Args:
        open_pairs: Pairs that are not decided yet.
        fit: Ratings so far; ``None`` before the first round, which asks every pair.
        schedule: How to choose.
        most: Largest number of pairs in an active round.
    """
    if schedule == "uniform" or fit is None:
        return list(open_pairs)
    gap_PP, error_PP = pair_uncertainty(fit)

    def doubt(pair: Pair) -> tuple[float, float]:
        error = float(error_PP[pair])
        return erfc(abs(float(gap_PP[pair])) / max(error, 1e-12) / sqrt(2)) / 2, error

    # Sorted is stable, so that equal doubts keep their order and a resumed tournament asks the same.
    return sorted(sorted(open_pairs, key=doubt, reverse=True)[:most])
