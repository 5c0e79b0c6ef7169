"""How far judges agree beyond chance: Cohen's kappa of two, Fleiss' kappa of a panel, and who disagrees how often.

Axes: N items, J judges, K categories.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from character_ray.judging.verdict import Seat
from character_ray.statistics import Interval, cluster_rate, cluster_statistic

__all__ = ["PairAgreement", "cohen_interval", "cohen_kappa", "fleiss_kappa", "pair_agreements", "panel_kappa"]

CATEGORIES: tuple[Seat, ...] = ("A", "B", "tie")


@dataclass(frozen=True)
class PairAgreement:
    """Two judges on the seatings that both gave a verdict on."""

    first: str
    second: str
    agreement: Interval
    """Share of verdicts that are the same."""
    opposite: Interval
    """Share where one says A and the other B."""
    kappa: Interval | None
    """``None`` when both always say the same one thing, so that chance explains everything."""
    n: int


def cohen_kappa(
    first_N: Sequence[Hashable], second_N: Sequence[Hashable], categories: Sequence[Hashable] = CATEGORIES
) -> float | None:
    """Agreement of two judges beyond chance (Cohen 1960); ``None`` where chance alone would make them agree always.

    Raises:
        ValueError: The two differ in length, or are empty.
    """
    if not first_N or len(first_N) != len(second_N):
        raise ValueError(f"{len(first_N)} and {len(second_N)} verdicts: kappa compares two judges on the same items")
    return _or_none(_cohen(_joint(first_N, second_N, categories).sum(0)))


def cohen_interval(
    first_N: Sequence[Hashable],
    second_N: Sequence[Hashable],
    prompts: Sequence[str],
    categories: Sequence[Hashable],
    *,
    seed: int,
    resamples: int,
) -> Interval | None:
    """The same with its interval.

    Args:
        first_N: What one decided, by item.
        second_N: What the other did.
        prompts: Prompt of each item; the interval resamples prompts.
        categories: What may be decided.
        seed: Seed of the interval.
        resamples: Its bootstrap resamples.

    Raises:
        ValueError: The two differ in length, or are empty.
    """
    if cohen_kappa(first_N, second_N, categories) is None:
        return None
    sums = _joint(first_N, second_N, categories)
    return cluster_statistic(sums, prompts, _cohen, seed=seed, resamples=resamples, bounds=(-1, 1))


def fleiss_kappa(votes_NK: np.ndarray) -> float | None:
    """Agreement of a panel beyond chance (Fleiss 1971); ``None`` where every vote is the same.

    Args:
        votes_NK: Votes by item and category; every item has as many, at least two.

    Raises:
        ValueError: Items differ in their number of votes, or have fewer than two.
    """
    return _or_none(_fleiss(_votes(votes_NK).sum(0)))


def pair_agreements(
    verdicts: Mapping[str, Sequence[Seat | None]], prompts: Sequence[str], *, seed: int, resamples: int = 1000
) -> list[PairAgreement]:
    """Every two judges of a panel; pairs that share no item are left out.

    Args:
        verdicts: By judge its verdict on each item.
        prompts: Prompt of each item; intervals resample prompts.
        seed: Seed of the intervals.
        resamples: Bootstrap resamples of the intervals.
    """
    draws: dict[str, Any] = {"seed": seed, "resamples": resamples}
    found = []
    for first, second in combinations(verdicts, 2):
        both = [
            (a, b, prompt)
            for a, b, prompt in zip(verdicts[first], verdicts[second], prompts, strict=True)
            if a is not None and b is not None
        ]
        if not both:
            continue
        one, other, asked = map(list, zip(*both, strict=True))
        found.append(
            PairAgreement(
                first,
                second,
                cluster_rate([float(a == b) for a, b, _ in both], asked, **draws),
                cluster_rate([float({a, b} == {"A", "B"}) for a, b, _ in both], asked, **draws),
                cohen_interval(one, other, asked, CATEGORIES, **draws),
                len(both),
            )
        )
    return found


def panel_kappa(
    verdicts: Mapping[str, Sequence[Seat | None]], prompts: Sequence[str], *, seed: int, resamples: int = 1000
) -> Interval | None:
    """Fleiss' kappa on the items that all judges gave a verdict on.

    Args:
        verdicts: By judge its verdict on each item.
        prompts: Prompt of each item; the interval resamples prompts.
        seed: Seed of the interval.
        resamples: Bootstrap resamples of the interval.

    Returns:
        ``None`` with one judge, without such an item, or where every verdict is the same.
    """
    rows = [(row, prompt) for *row, prompt in zip(*verdicts.values(), prompts, strict=True) if None not in row]
    if len(verdicts) < 2 or not rows:
        return None
    votes_NK = np.array([[row.count(each) for each in CATEGORIES] for row, _ in rows])
    if fleiss_kappa(votes_NK) is None:
        return None
    asked = [prompt for _, prompt in rows]
    return cluster_statistic(_votes(votes_NK), asked, _fleiss, seed=seed, resamples=resamples, bounds=(-1, 1))


def _joint(first_N: Sequence[Hashable], second_N: Sequence[Hashable], categories: Sequence[Hashable]) -> np.ndarray:
    """Which decision of one met which of the other, by item; shape ``(N, K * K)``."""
    first, second = (
        np.array([[each == c for c in categories] for each in side], dtype=float) for side in (first_N, second_N)
    )
    joint: np.ndarray = (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)
    return joint


def _cohen(sums: np.ndarray) -> np.ndarray:
    """Cohen's kappa from sums of :func:`_joint`, shape ``(..., K * K)``."""
    number = math.isqrt(sums.shape[-1])
    joint = sums.reshape(*sums.shape[:-1], number, number)
    joint = joint / joint.sum((-2, -1), keepdims=True)
    chance = (joint.sum(-1) * joint.sum(-2)).sum(-1)
    return _beyond_chance(np.trace(joint, axis1=-2, axis2=-1), chance)


def _votes(votes_NK: np.ndarray) -> np.ndarray:
    """By item one, its share of agreeing pairs of judges, and its votes; shape ``(N, 2 + K)``."""
    votes = np.asarray(votes_NK, dtype=np.float64)
    judges = votes.sum(1)
    if len(votes) == 0 or judges[0] < 2 or (judges != judges[0]).any():
        raise ValueError(
            "Fleiss' kappa takes at least one item, and the same number of votes, two or more, on every item"
        )
    agreeing = ((votes**2).sum(1) - judges) / (judges * (judges - 1))
    return np.column_stack([np.ones(len(votes)), agreeing, votes])


def _fleiss(sums: np.ndarray) -> np.ndarray:
    """Fleiss' kappa from sums of :func:`_votes`, shape ``(..., 2 + K)``."""
    votes = sums[..., 2:]
    chance = ((votes / votes.sum(-1, keepdims=True)) ** 2).sum(-1)
    return _beyond_chance(sums[..., 1] / sums[..., 0], chance)


def _beyond_chance(observed: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """How much of what chance leaves open is agreed; NaN where it leaves nothing."""
    found: np.ndarray = np.divide(
        observed - chance, 1 - chance, out=np.full(np.shape(chance), np.nan), where=chance < 1 - 1e-12
    )
    return found


def _or_none(value: np.ndarray) -> float | None:
    return None if np.isnan(value) else float(value)
