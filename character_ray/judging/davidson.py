"""Bradley-Terry with ties (Davidson 1970), a seat term (Davidson and Beaver 1977) and a length covariate, on counts.

    d = strength of the first - strength of the second + seat + length x         [nats]
    p(first wins) : p(tie) : p(second wins)  =  e^(d/2) : v : e^(-d/2)

A battle enters the likelihood through its cell alone (who sat where, how much longer), so a million battles are a few hundred
counts, and a bootstrap over prompts weights the counts of each prompt anew. Every weight has the same weak prior, ``prior_games``
games drawn against an opponent of mean strength: without it a player who never loses, a judge who never leaves a seat, or battles
without any tie would have an infinite estimate.

Axes: P players, K cells, O outcomes (first, tie, second), C clusters (prompts), B resamples, D columns of the design, N battles.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from character_ray.judging.rating import POINTS_PER_NAT, START, Battles
from character_ray.statistics import Interval, expanded_levels, resample_weights

__all__ = ["Cells", "Fit", "Rated", "count_cells", "fit_davidson", "pair_uncertainty", "rate_with_ties"]

# Length covariates closer than this share a cell.
LENGTH_STEP = 0.1
# The covariate of an answer twice as long: (2 - 1) / (2 + 1).
TWICE = 1 / 3
MOST_STEPS = 60
LONGEST_STEP = 2.0  # nats; a full Newton step from far away may overshoot
CONVERGED = 1e-9
# More cells than this times prompts are counted sparsely.
LARGEST_DENSE = 20_000_000


@dataclass(frozen=True)
class Cells:
    """Battles counted by prompt, cell and outcome."""

    design_KD: np.ndarray
    """One column per player (+1 first seat, -1 second), then the seat, then the length where it is fitted."""
    players: int
    counts_CX: "np.ndarray"
    """Counts of shape ``(C, K * 3)``, dense or a sparse matrix of SciPy."""
    with_seat: bool
    with_length: bool

    @property
    def total_KO(self) -> np.ndarray:
        """Counts over all prompts."""
        return np.asarray(self.counts_CX.sum(axis=0), dtype=np.float64).reshape(-1, 3)

    @property
    def clusters(self) -> int:
        """Number of prompts."""
        return int(self.counts_CX.shape[0])


@dataclass(frozen=True)
class Fit:
    """Estimates; every array may have a leading axis of resamples."""

    weights_D: np.ndarray
    tie: np.ndarray
    """Log of ``v``."""
    players: int
    with_seat: bool
    with_length: bool
    information_DD: np.ndarray
    """Negative second derivative of the log posterior by the weights, the tie term profiled out."""

    @cached_property
    def ratings_P(self) -> np.ndarray:
        """Elo points with mean 1000."""
        strength = self.weights_D[..., : self.players]
        rated: np.ndarray = START + POINTS_PER_NAT * (strength - strength.mean(-1, keepdims=True))
        return rated

    @property
    def seat(self) -> np.ndarray:
        """Advantage of the first seat, in Elo points; 0 where it is not fitted."""
        points: np.ndarray = POINTS_PER_NAT * self.weights_D[..., self.players] if self.with_seat else 0 * self.tie
        return points

    @property
    def length(self) -> np.ndarray:
        """Advantage of an answer twice as long, in Elo points; 0 where it is not fitted."""
        points: np.ndarray = POINTS_PER_NAT * TWICE * self.weights_D[..., -1] if self.with_length else 0 * self.tie
        return points

    @property
    def tie_share(self) -> np.ndarray:
        """Share of ties between equals on fair seats."""
        share: np.ndarray = 1 / (1 + 2 * np.exp(-self.tie))
        return share


@dataclass(frozen=True)
class Rated:
    """Ratings with intervals that resample prompts."""

    ratings: list[Interval]
    seat: Interval | None
    length: Interval | None
    tie_share: Interval
    boot_BP: np.ndarray
    """Ratings of every resample, for intervals of differences."""
    fit: Fit

    @property
    def half_width(self) -> float:
        """Half the widest interval of a rating, in Elo points."""
        return max((each.high - each.low) / 2 for each in self.ratings)

    def difference(self, first: int, second: int) -> Interval:
        """Rating of one player minus that of another."""
        one = self.ratings[first]
        low, high = np.quantile(self.boot_BP[:, first] - self.boot_BP[:, second], expanded_levels(one.n))
        return Interval(one.value - self.ratings[second].value, float(low), float(high), one.n, one.method)


def count_cells(battles: Battles, players: int, prompts: int, *, seat: bool = True, length: bool = False) -> Cells:
    """Count battles by what the model can tell apart.

    Args:
        battles: Judged seatings; with ``length`` also how much longer each first answer is.
        players: Number of players, those that never played included.
        prompts: Number of prompts.
        seat: Fit a seat term. Leave it out where every battle stands for both seatings.
        length: Fit a length covariate.

    Raises:
        ValueError: An outcome is none of 1, 0.5 and 0, an index is out of range, or there are no lengths to fit.
    """
    outcomes, (first, second) = battles.outcomes_N, battles.seats_N2.T.astype(np.int64).reshape(2, -1)
    if not np.isin(outcomes, (0.0, 0.5, 1.0)).all():
        raise ValueError("an outcome is 1, 0.5 or 0; battles without a verdict are counted in unscored and left out")
    for name, found, size in (("player", battles.seats_N2, players), ("prompt", battles.prompts_N, prompts)):
        if len(found) and not (found.min() >= 0 and found.max() < size):
            raise ValueError(f"a {name} index lies outside 0 to {size - 1}")
    steps_N = np.zeros(len(outcomes), dtype=np.int64)
    if length:
        if battles.lengths_N is None:
            raise ValueError("a length covariate is asked for, but the battles have no lengths")
        steps_N = np.rint(np.clip(battles.lengths_N, -1, 1) / LENGTH_STEP).astype(np.int64)
    reach = round(1 / LENGTH_STEP)
    width = 2 * reach + 1
    code_N = (first * players + second) * width + steps_N + reach
    present = np.flatnonzero(np.bincount(code_N, minlength=players * players * width))
    place = np.zeros(players * players * width, dtype=np.int64)
    place[present] = np.arange(len(present))
    column_N = place[code_N] * 3 + (2 - 2 * outcomes).astype(np.int64)
    columns = max(3 * len(present), 3)
    prompt_N = battles.prompts_N.astype(np.int64)
    if prompts * columns <= LARGEST_DENSE:
        flat = np.bincount(prompt_N * columns + column_N, minlength=prompts * columns)
        counts = flat.reshape(prompts, columns).astype(np.float64)
    else:
        from scipy.sparse import coo_matrix

        ones = np.ones(len(column_N))
        counts = coo_matrix((ones, (prompt_N, column_N)), shape=(prompts, columns)).tocsr()
    if not len(present):
        present = np.zeros(1, dtype=np.int64)
    pair_K, step_K = np.divmod(present, width)
    first_K, second_K = np.divmod(pair_K, players)
    design = np.zeros((len(present), players + seat + length))
    rows = np.arange(len(present))
    design[rows, first_K] += 1
    design[rows, second_K] -= 1
    if seat:
        design[:, players] = 1
    if length:
        design[:, -1] = (step_K - reach) * LENGTH_STEP
    return Cells(design, players, counts, seat, length)


def fit_davidson(cells: Cells, counts_KO: np.ndarray, *, prior_games: float = 1.0, start: Fit | None = None) -> Fit:
    """Estimates of largest posterior density, by Newton's method on all resamples at once.

    Args:
        cells: What the counts are about.
        counts_KO: Counts by cell and outcome, shape ``(..., K, 3)``; they need not be whole.
        prior_games: Weight of the prior on every weight, in games; greater than 0.
        start: Where to begin, such as the fit of the whole.

    Raises:
        ValueError: ``prior_games`` is not positive, or no estimate was found.
    """
    if prior_games <= 0:
        raise ValueError(
            f"prior_games={prior_games} must be greater than 0: it keeps an undefeated player's rating finite"
        )
    counts = np.asarray(counts_KO, dtype=np.float64)
    leading, counts = counts.shape[:-2], counts.reshape(-1, *counts.shape[-2:])
    design = cells.design_KD
    resamples, columns = len(counts), design.shape[1]
    games_BK = counts.sum(-1)
    won_BK = (counts[..., 0] - counts[..., 2]) / 2
    tied_B = counts[..., 1].sum(-1)
    squares = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    weights, tie = np.zeros((resamples, columns)), np.zeros(resamples)
    if start is not None:
        weights, tie = weights + start.weights_D, tie + start.tie
    diagonal = np.arange(columns)
    for _ in range(MOST_STEPS):
        half_BK = weights @ design.T / 2
        top = np.maximum(np.abs(half_BK), tie[:, None])
        first, second, even = np.exp(half_BK - top), np.exp(-half_BK - top), np.exp(tie[:, None] - top)
        total = first + second + even
        lead, even = (first - second) / total, even / total
        own, own_tie = 1 / (1 + np.exp(-weights)), 1 / (1 + np.exp(-tie))
        gradient = (won_BK - games_BK * lead / 2) @ design + prior_games * (0.5 - own)
        gradient_tie = tied_B - (games_BK * even).sum(-1) + prior_games * (0.5 - own_tie)
        curvature = ((games_BK * (1 - even - lead**2) / 4) @ squares).reshape(resamples, columns, columns)
        curvature[:, diagonal, diagonal] += prior_games * own * (1 - own)
        cross = -(games_BK * lead * even / 2) @ design
        curvature_tie = (games_BK * even * (1 - even)).sum(-1) + prior_games * own_tie * (1 - own_tie)
        # The tie term is eliminated, so that what is left is about the weights alone.
        information = curvature - cross[:, :, None] * cross[:, None, :] / curvature_tie[:, None, None]
        reduced = gradient - cross * (gradient_tie / curvature_tie)[:, None]
        step = np.linalg.solve(information, reduced[..., None])[..., 0]
        step_tie = (gradient_tie - (cross * step).sum(-1)) / curvature_tie
        largest = np.maximum(np.abs(step).max(-1), np.abs(step_tie))
        shrink = np.minimum(1, LONGEST_STEP / np.maximum(largest, CONVERGED))
        weights, tie = weights + shrink[:, None] * step, tie + shrink * step_tie
        if largest.max(initial=0) < CONVERGED:
            break
    else:
        raise ValueError(f"the ratings did not settle within {MOST_STEPS} steps; raise prior_games={prior_games}")
    return Fit(
        weights.reshape(*leading, columns),
        tie.reshape(leading),
        cells.players,
        cells.with_seat,
        cells.with_length,
        information.reshape(*leading, columns, columns),
    )


def rate_with_ties(
    battles: Battles,
    players: int,
    prompts: int,
    *,
    seed: int,
    resamples: int = 1000,
    seat: bool = True,
    length: bool = False,
    prior_games: float = 1.0,
) -> Rated:
    """Ratings of all players with 95 % intervals from a bootstrap over prompts.

    The interval is the expanded percentile interval (Hesterberg 2015): percentiles that widen with fewer prompts, as Student's
    quantiles do.

    Args:
        battles: Judged seatings.
        players: Number of players.
        prompts: Number of prompts; battles on one prompt are drawn together.
        seed: Seed of the bootstrap.
        resamples: Number of resamples.
        seat: Fit a seat term.
        length: Fit a length covariate.
        prior_games: Weight of the prior, in games.
    """
    cells = count_cells(battles, players, prompts, seat=seat, length=length)
    fit = fit_davidson(cells, cells.total_KO, prior_games=prior_games)
    weights_BC = resample_weights(cells.clusters, resamples, seed).astype(np.float64)
    counts = np.asarray(weights_BC @ cells.counts_CX).reshape(resamples, -1, 3)
    boot = fit_davidson(cells, counts, prior_games=prior_games, start=fit)
    levels = expanded_levels(prompts)
    method = (
        f"Davidson, bootstrap of {prompts} prompts, {resamples} resamples, seed {seed}, prior {prior_games:g} games"
    )

    def interval(value: float, draws_B: np.ndarray) -> Interval:
        low, high = np.quantile(draws_B, levels)
        return Interval(float(value), float(low), float(high), prompts, method)

    return Rated(
        [interval(fit.ratings_P[player], boot.ratings_P[:, player]) for player in range(players)],
        interval(float(fit.seat), boot.seat) if seat else None,
        interval(float(fit.length), boot.length) if length else None,
        interval(float(fit.tie_share), boot.tie_share),
        boot.ratings_P,
        fit,
    )


def pair_uncertainty(fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Gaps between all pairs of players and their standard errors, both in Elo points and of shape ``(P, P)``.

    From the curvature of the likelihood, which takes battles as independent: for choosing what to ask next, not for a report.
    """
    covariance = np.linalg.inv(fit.information_DD)[: fit.players, : fit.players]
    spread = np.diag(covariance)
    variance = np.maximum(spread[:, None] + spread[None, :] - 2 * covariance, 0)
    ratings = fit.ratings_P
    return ratings[:, None] - ratings[None, :], POINTS_PER_NAT * np.sqrt(variance)
