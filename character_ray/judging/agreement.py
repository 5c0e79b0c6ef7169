"""How far judges agree beyond chance: Cohen's kappa of two, Fleiss' kappa of a panel, and who disagrees how often.

Axes: N items, J judges, K categories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from character_ray.judging.verdict import Seat

__all__ = ["PairAgreement", "cohen_kappa", "fleiss_kappa", "pair_agreements", "panel_kappa"]

CATEGORIES: tuple[Seat, ...] = ("A", "B", "tie")


@dataclass(frozen=True)
class PairAgreement:
    """Two judges on the seatings that both gave a verdict on."""

    first: str
    second: str
    agreement: float
    """Share of verdicts that are the same."""
    opposite: float
    """Share where one says A and the other B."""
    kappa: float | None
    """``None`` when both always say the same one thing, so that chance explains everything."""
    n: int


def cohen_kappa(first_N: Sequence[Seat], second_N: Sequence[Seat]) -> float | None:
    """Agreement of two judges beyond chance (Cohen 1960); ``None`` where chance alone would make them agree always.

    Raises:
        ValueError: The two differ in length, or are empty.
    """
    if not first_N or len(first_N) != len(second_N):
        raise ValueError(f"{len(first_N)} and {len(second_N)} verdicts: kappa compares two judges on the same items")
    first, second = (
        np.array([[v == c for c in CATEGORIES] for v in side], dtype=float) for side in (first_N, second_N)
    )
    observed = float((first * second).sum(1).mean())
    chance = float(first.mean(0) @ second.mean(0))
    return None if chance >= 1 else (observed - chance) / (1 - chance)


def fleiss_kappa(votes_NK: np.ndarray) -> float | None:
    """Agreement of a panel beyond chance (Fleiss 1971); ``None`` where every vote is the same.

    Args:
        votes_NK: Votes by item and category; every item has as many, at least two.

    Raises:
        ValueError: Items differ in their number of votes, or have fewer than two.
    """
    votes = np.asarray(votes_NK, dtype=np.float64)
    judges = votes.sum(1)
    if len(votes) == 0 or judges[0] < 2 or (judges != judges[0]).any():
        raise ValueError(
            "Fleiss' kappa takes at least one item, and the same number of votes, two or more, on every item"
        )
    agreeing = ((votes**2).sum(1) - judges) / (judges * (judges - 1))
    chance = float(((votes.sum(0) / votes.sum()) ** 2).sum())
    return None if chance >= 1 else float((agreeing.mean() - chance) / (1 - chance))


def pair_agreements(verdicts: dict[str, Sequence[Seat | None]]) -> list[PairAgreement]:
    """Every two judges of a panel; pairs that share no item are left out."""
    found = []
    for first, second in combinations(verdicts, 2):
        both = [
            (a, b) for a, b in zip(verdicts[first], verdicts[second], strict=True) if a is not None and b is not None
        ]
        if both:
            same = sum(a == b for a, b in both) / len(both)
            opposite = sum({a, b} == {"A", "B"} for a, b in both) / len(both)
            kappa = cohen_kappa(*map(list, zip(*both, strict=True)))
            found.append(PairAgreement(first, second, same, opposite, kappa, len(both)))
    return found


def panel_kappa(verdicts: dict[str, Sequence[Seat | None]]) -> tuple[float | None, int]:
    """Fleiss' kappa on the items that all judges gave a verdict on, and how many these are."""
    rows = [row for row in zip(*verdicts.values(), strict=True) if None not in row]
    if len(verdicts) < 2 or not rows:
        return None, 0
    return fleiss_kappa(np.array([[row.count(each) for each in CATEGORIES] for row in rows])), len(rows)
