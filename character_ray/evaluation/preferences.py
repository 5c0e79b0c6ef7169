"""Revealed preferences: which of two traits a model would rather show, read from the odds of its next token.

    {first, second} in both orders -> log-odds of A over B -> preference without the love of a seat -> rating per trait -> Spearman of arms

A small model mostly says what its favourite letter is. Asked in both orders, that cancels:

    preference(i, j) = (log-odds of A when i sits there - log-odds of A when j sits there) / 2        [nats]

What is left is turned into a share of wins, ``1 / (1 + exp(-preference))``, for the Bradley-Terry fit. The schedule is the same for every
arm, so arms are compared on the same pairs.

Axes: K pairs, P traits.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from character_ray.evaluation.reader import Reader
from character_ray.judging.rating import fit_bradley_terry
from character_ray.prompts.files import read_data
from character_ray.rows import Message
from character_ray.statistics import Interval

__all__ = ["Preferred", "TraitPair", "agreement", "ask_pairs", "describe", "rate_traits", "schedule_pairs", "traits"]


@dataclass(frozen=True)
class TraitPair:
    """Two traits, by number, and the question that puts them beside each other."""

    first: int
    second: int
    frame: str

    def prompt(self, *, swapped: bool) -> str:
        """The question with the traits in this or in the other order."""
        names = traits()
        a, b = (self.second, self.first) if swapped else (self.first, self.second)
        return self.frame.format(first=names[a], second=names[b])


@dataclass(frozen=True)
class Preferred:
    """What an arm answered to a schedule."""

    preference_K: np.ndarray
    """Log-odds of the first trait over the second, in nats, the seat taken out."""

    seat_K: np.ndarray
    """Log-odds of seat A whoever sits there."""


def traits() -> list[str]:
    """The 144 traits."""
    names: list[str] = read_data("traits.yaml")["traits"]
    return names


def schedule_pairs(rivals: int, seed: int) -> list[TraitPair]:
    """Pairs in which every trait meets as many others, none twice, in a wording drawn by seed.

    Raises:
        ValueError: ``rivals`` is odd or too many.
    """
    count, frames = len(traits()), read_data("traits.yaml")["frames"]
    if rivals % 2 or not 2 <= rivals <= count - 2:
        raise ValueError(f"{rivals} rivals for each of {count} traits: give an even number from 2 to {count - 2}")
    draw = random.Random(seed)
    circle = draw.sample(range(count), count)
    # On a circle each trait meets those this many places away on either side.
    steps = draw.sample(range(1, count // 2), rivals // 2)
    return [
        TraitPair(circle[place], circle[(place + step) % count], draw.choice(frames))
        for step in steps
        for place in range(count)
    ]


def ask_pairs(
    reader: Reader, arm: str, pairs: Sequence[TraitPair], chats: Mapping[str, Sequence[Message]], batch_size: int
) -> Preferred:
    """An arm's log-odds on every pair in both orders, by forward passes alone.

    Args:
        reader: Base model and adapters.
        arm: Whose weights answer.
        pairs: The schedule.
        chats: What the arm sees of each question.
        batch_size: Questions per forward pass.
    """
    passages = [reader.passage(chats[pair.prompt(swapped=swapped)], "A") for pair in pairs for swapped in (False, True)]
    other = reader.passage(chats[pairs[0].prompt(swapped=False)], "B")
    a, b = passages[0].answer[0], other.answer[0]
    odds = np.zeros(len(passages))
    with reader.weights(arm):
        for place, logits in reader.answer_logits(passages, batch_size):
            odds[place] = float(logits[0, a] - logits[0, b])
    odds_K2 = odds.reshape(-1, 2)
    return Preferred((odds_K2[:, 0] - odds_K2[:, 1]) / 2, odds_K2.mean(1))


def rate_traits(pairs: Sequence[TraitPair], preference_K: np.ndarray) -> np.ndarray:
    """Bradley-Terry ratings of all traits in Elo points, mean 1000; shape ``(P,)``."""
    wins_PP = np.zeros((len(traits()),) * 2)
    share_K = 1 / (1 + np.exp(-preference_K))
    for pair, share in zip(pairs, share_K, strict=True):
        wins_PP[pair.first, pair.second] += share
        wins_PP[pair.second, pair.first] += 1 - share
    return fit_bradley_terry(wins_PP)


def agreement(first_P: np.ndarray, second_P: np.ndarray, *, seed: int, resamples: int = 1000) -> Interval:
    """Spearman's rank correlation of two arms' ratings, with a bootstrap interval over traits."""
    from scipy.stats import rankdata

    def spearman(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])

    draw, count = np.random.default_rng(seed), len(first_P)
    boot = []
    for _ in range(resamples):
        drawn = draw.integers(0, count, count)
        boot.append(spearman(first_P[drawn], second_P[drawn]))
    low, high = (float(value) for value in np.nanquantile(boot, (0.025, 0.975)))
    method = f"Spearman, bootstrap of {count} traits, {resamples} resamples, seed {seed}"
    return Interval(spearman(first_P, second_P), low, high, count, method)


def describe(names: Sequence[str], rating_P: np.ndarray) -> list[dict[str, Any]]:
    """Traits with their ratings, highest first."""
    return [{"trait": names[place], "rating": float(rating_P[place])} for place in np.argsort(-rating_P)]
