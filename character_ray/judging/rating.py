"""Battles between arms, and plain Bradley-Terry.

A tie counts half to each side here; :mod:`character_ray.judging.davidson`, which reports rate by, models ties, seats and length;
:mod:`character_ray.judging.sequential` is Elo to the seed's letter.

Axes: P players (arms), C prompts, N battles. Ratings are Elo points (400 / ln 10 per nat) with mean 1000.
"""

from dataclasses import dataclass

import numpy as np

from character_ray.judging.verdict import is_tie

__all__ = ["Battles", "arrange_battles", "fit_bradley_terry", "win_matrix"]

START = 1000.0
POINTS_PER_NAT = 400 / np.log(10)
NEWTON_STEPS = 30


@dataclass(frozen=True)
class Battles:
    """Every pair of players on every prompt that both have a score on."""

    seats_N2: np.ndarray
    outcomes_N: np.ndarray
    """Score of the first seat: 1 a win, 0.5 a tie, 0 a loss."""
    prompts_N: np.ndarray
    unscored: int
    """Battles without a verdict; they are counted and move nothing."""
    lengths_N: np.ndarray | None = None
    """How much longer the first answer is, from -1 to 1: the difference of the lengths over their sum."""


def arrange_battles(scores_PC: np.ndarray, tie_margin: float) -> Battles:
    """All battles decided by scores; no further apart than ``tie_margin`` is a tie, NaN is unscored."""
    players, prompts = scores_PC.shape
    first, second = np.triu_indices(players, k=1)
    gaps = scores_PC[first] - scores_PC[second]
    outcomes = np.where(is_tie(gaps, tie_margin), 0.5, (gaps > 0).astype(float))
    scored = ~np.isnan(gaps)
    seats = np.stack([np.repeat(first, prompts), np.repeat(second, prompts)], axis=1)
    keep = scored.ravel()
    return Battles(
        seats[keep], outcomes.ravel()[keep], np.tile(np.arange(prompts), len(first))[keep], int((~keep).sum())
    )


def fit_bradley_terry(wins_PP: np.ndarray, *, prior_games: float = 1.0) -> np.ndarray:
    """Maximum-likelihood ratings of all players at once; unlike sequential Elo they do not depend on the order of battles.

    Args:
        wins_PP: ``wins_PP[a, b]`` is the score of ``a`` against ``b``, a tie counting half to each. May have leading axes.
        prior_games: Drawn games of every player against an opponent of mean strength, which keep an undefeated player finite.

    Returns:
        Ratings of shape ``(..., P)``, mean 1000.
    """
    wins = np.asarray(wins_PP, dtype=np.float64)
    games = wins + np.swapaxes(wins, -1, -2)
    players = wins.shape[-1]
    strength = np.zeros(wins.shape[:-1])
    identity = np.eye(players)
    for _ in range(NEWTON_STEPS):
        expected = 1 / (1 + np.exp(-(strength[..., :, None] - strength[..., None, :])))
        own = 1 / (1 + np.exp(-strength))
        gradient = wins.sum(-1) - (games * expected).sum(-1) + prior_games * (0.5 - own)
        curvature = games * expected * (1 - expected)
        diagonal = curvature.sum(-1) + prior_games * own * (1 - own)
        hessian = diagonal[..., None] * identity - curvature
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        strength = strength + np.clip(step, -2, 2)
    rated: np.ndarray = START + POINTS_PER_NAT * (strength - strength.mean(-1, keepdims=True))
    return rated


def win_matrix(battles: Battles, players: int) -> np.ndarray:
    """Score of each player against each other, a tie counting half to each; shape ``(P, P)``."""
    wins_PP = np.zeros((players, players))
    first, second = battles.seats_N2.T
    np.add.at(wins_PP, (first, second), battles.outcomes_N)
    np.add.at(wins_PP, (second, first), 1 - battles.outcomes_N)
    return wins_PP
