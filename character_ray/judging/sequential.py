"""Sequential Elo to the seed's letter (section 2.3), averaged over orders, with an interval that resamples prompts.

Axes: P players, N battles, C prompts, B resamples, S orders.
"""

import numpy as np

from character_ray.judging.rating import START, Battles
from character_ray.statistics import Interval, expanded_levels

__all__ = ["rate_sequentially", "sequential_elo"]

# Each resample is walked in several orders, one battle after the other; more resamples would say no more than this costs.
MOST_RESAMPLES = 200
# Battles walked in all resamples and orders together, and in those held in memory at once.
MOST_WALKED = 50_000_000
AT_ONCE = 10_000_000


def sequential_elo(battles: Battles, players: int, *, k: float, shuffles: int, seed: int) -> np.ndarray:
    """The mean over seeded orders of the battles; shape ``(P,)``."""
    draw = np.random.default_rng(seed)
    orders_NS = np.array([draw.permutation(len(battles.outcomes_N)) for _ in range(shuffles)], dtype=np.int64).T
    mean_P: np.ndarray = _walk(battles.seats_N2, battles.outcomes_N, players, orders_NS, k).mean(axis=0)
    return mean_P


def rate_sequentially(
    battles: Battles, players: int, *, k: float, shuffles: int, seed: int, resamples: int = 1000
) -> list[Interval]:
    """Sequential Elo of every player with its 95 % interval.

    Prompts are drawn anew, and their battles walked in fresh orders, as many as the value is averaged over. Where there are so many battles
    that this would take minutes they are fewer; then the interval holds some of the chance of the order, too, and is wider.

    Args:
        battles: Scored battles.
        players: Number of players.
        k: Step of a battle.
        shuffles: Orders that the value is averaged over.
        seed: Seed of orders and prompts.
        resamples: Resamples of the prompts; no more than 200 are drawn.

    Returns:
        One interval for each player; ``n`` counts its battles. Without any battle all stand where they start, without an interval.
    """
    value_P = sequential_elo(battles, players, k=k, shuffles=shuffles, seed=seed)
    size = len(battles.outcomes_N)
    if size == 0:
        return [Interval(float(value), float(value), float(value), 0, "no interval: no battle") for value in value_P]
    resamples = min(resamples, MOST_RESAMPLES)
    orders = max(1, min(shuffles, MOST_WALKED // (resamples * size)))
    boot_BP = _resampled(battles, players, k, orders, resamples, seed)
    clusters = len(np.unique(battles.prompts_N))
    low_P, high_P = np.quantile(boot_BP, expanded_levels(clusters), axis=0)
    method = (
        f"sequential Elo, K {k:g}, mean of {shuffles} orders; bootstrap of {clusters} prompts, {resamples} resamples of {orders} orders "
        f"each, seed {seed}"
    )
    games_P = np.bincount(battles.seats_N2.ravel(), minlength=players)
    return [
        Interval(float(value), float(low), float(high), int(games), method)
        for value, low, high, games in zip(value_P, low_P, high_P, games_P, strict=True)
    ]


def _resampled(battles: Battles, players: int, k: float, orders: int, resamples: int, seed: int) -> np.ndarray:
    """The mean over orders, in every resample of the prompts; shape ``(B, P)``."""
    draw = np.random.default_rng(seed)
    _, place_N = np.unique(battles.prompts_N, return_inverse=True)
    of_prompt = [np.flatnonzero(place_N == prompt) for prompt in range(place_N.max() + 1)]
    nothing = len(place_N)  # a battle of nobody with nobody fills a resample of fewer battles
    seats, outcomes = np.vstack([battles.seats_N2, [[0, 0]]]), np.append(battles.outcomes_N, 0.5)
    chunk = max(1, AT_ONCE // (orders * len(place_N)))
    means = []
    for first in range(0, resamples, chunk):
        drawn = [
            np.concatenate([of_prompt[prompt] for prompt in draw.integers(0, len(of_prompt), len(of_prompt))])
            for _ in range(min(chunk, resamples - first))
        ]
        longest = max(map(len, drawn))
        filled = np.array([np.pad(each, (0, longest - len(each)), constant_values=nothing) for each in drawn])
        orders_NS = draw.permuted(np.repeat(filled, orders, axis=0), axis=1).T
        ratings = _walk(seats, outcomes, players, np.ascontiguousarray(orders_NS), k)
        means.append(ratings.reshape(len(drawn), orders, players).mean(axis=1))
    return np.concatenate(means)


def _walk(seats_N2: np.ndarray, outcomes_N: np.ndarray, players: int, orders_NS: np.ndarray, k: float) -> np.ndarray:
    """Ratings after the battles, in several orders side by side; shape ``(S, P)``."""
    rating_SP, every = np.full((orders_NS.shape[1], players), START), np.arange(orders_NS.shape[1])
    for battle_S in orders_NS:  # one battle of every order at a time
        a, b = seats_N2[battle_S].T
        expected = 1.0 / (1.0 + 10 ** ((rating_SP[every, b] - rating_SP[every, a]) / 400))
        change = k * (outcomes_N[battle_S] - expected)
        rating_SP[every, a] += change
        rating_SP[every, b] -= change
    return rating_SP
