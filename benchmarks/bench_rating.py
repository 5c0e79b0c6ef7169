"""Ratings of many battles with a bootstrap: ours beside choix and the method that FastChat published, on the same battles.

    python -m benchmarks.bench_rating --output benchmarks/results/rating-cpu.json

Ours counts battles by cell once and weights the counts of every prompt anew; the others see each battle. What limits ours is reading
the battles (memory) and a product of weights and counts; what limits the others is their work per battle, once for every resample.

    ours             Davidson with ties and seats, resamples of prompts
    fastchat_counts  FastChat's later method: Bradley-Terry on counts by pair and outcome, a tie half to each side, resamples of battles
                     drawn as multinomial counts, each fitted by L-BFGS
    fastchat         FastChat's notebook: logistic regression of every battle (a win twice, a tie once to each side), resamples of battles
    choix            pairwise rating by iterated spectral steps (ILSR) without ties or seats, resamples of battles

The last two are given few resamples, whose mean time is scaled to the number asked for; ``scaled`` in the record says so. Ties are
left out of what choix sees, since it has none. Only ours keeps the battles of a prompt together.
"""

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.record import write_record
from character_ray.judging.davidson import rate_with_ties
from character_ray.judging.rating import POINTS_PER_NAT, Battles


def simulate(battles: int, players: int, prompts: int, seed: int) -> tuple[Battles, np.ndarray]:
    """Battles of players with known ratings; the first seat and ties as in Davidson's model."""
    draw = np.random.default_rng(seed)
    strength_P = draw.normal(0, 0.8, players)
    first = draw.integers(0, players, battles)
    second = (first + draw.integers(1, players, battles)) % players
    gap = strength_P[first] - strength_P[second] + 0.1
    weights = np.stack([np.exp(gap / 2), np.full(battles, 0.4), np.exp(-gap / 2)], axis=1)
    shares = (weights / weights.sum(1, keepdims=True)).cumsum(1)[:, :2]
    outcomes = 1 - (draw.random(battles)[:, None] > shares).sum(1) / 2
    rated = 1000 + POINTS_PER_NAT * (strength_P - strength_P.mean())
    return Battles(np.stack([first, second], 1), outcomes, draw.integers(0, prompts, battles), 0), rated


def fastchat(seats_N2: np.ndarray, outcomes_N: np.ndarray, players: int) -> np.ndarray:
    """One fit by FastChat's method, with sparse rows so that a million battles fit in memory."""
    from scipy.sparse import csr_matrix

    seats = np.concatenate([seats_N2, seats_N2])
    # Every battle stands twice: a win counts for the winner both times, a tie once for each side.
    won = np.concatenate([outcomes_N >= 0.5, outcomes_N == 1.0])
    rows = len(seats)
    values = np.tile([np.log(10.0), -np.log(10.0)], rows)
    design = csr_matrix((values, seats.ravel(), np.arange(0, 2 * rows + 1, 2)), shape=(rows, players))
    model = LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-6, max_iter=200).fit(design, won)
    rated = 400 * model.coef_[0]
    return 1000 + rated - rated.mean()


def fastchat_counts(battles: Battles, players: int, resamples: int, seed: int) -> np.ndarray:
    """The fit and all resamples by FastChat's later method; ratings of shape ``(1 + B, P)``."""
    from scipy.optimize import minimize
    from scipy.special import expit

    rows = np.column_stack([battles.seats_N2, (2 * battles.outcomes_N).astype(np.int64)])
    cells, counts = np.unique(rows, axis=0, return_counts=True)
    seats, outcomes = cells[:, :2], cells[:, 2] / 2
    share = counts / counts.sum()
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), share, size=resamples) / counts.sum()

    def loss(rating: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        expected = expit(np.log(10) * (rating[seats[:, 0]] - rating[seats[:, 1]]))
        value = -(weights * (outcomes * np.log(expected) + (1 - outcomes) * np.log(1 - expected))).sum()
        pull = -np.log(10) * weights * (outcomes - expected)
        gradient = np.bincount(seats[:, 0], pull, players) - np.bincount(seats[:, 1], pull, players)
        return value, gradient

    options = {"maxiter": 100, "gtol": 1e-6}
    found = [
        minimize(loss, np.zeros(players), args=(weights,), jac=True, method="L-BFGS-B", options=options).x
        for weights in (share, *drawn)
    ]
    rated = 400 * np.array(found)
    return 1000 + rated - rated.mean(1, keepdims=True)


def choix_rating(seats_N2: np.ndarray, outcomes_N: np.ndarray, players: int) -> np.ndarray:
    """One fit by choix, of battles without a tie."""
    import choix

    decided = outcomes_N != 0.5
    pairs = np.where((outcomes_N == 1)[:, None], seats_N2, seats_N2[:, ::-1])[decided]
    strength = choix.ilsr_pairwise(players, pairs.tolist(), alpha=1e-6)
    return 1000 + POINTS_PER_NAT * (strength - strength.mean())


def main() -> None:
    """Measure, compare, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battles", type=int, default=1_000_000)
    parser.add_argument("--players", type=int, default=11)
    parser.add_argument("--prompts", type=int, default=5000)
    parser.add_argument("--resamples", type=int, default=100, help="bootstrap rounds, as in FastChat's notebook")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fits", type=int, default=2, help="resamples that the others are timed on, a repeat")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    battles, truth = simulate(arguments.battles, arguments.players, arguments.prompts, arguments.seed)
    draw = np.random.default_rng(arguments.seed)
    others = {"fastchat": fastchat, "choix": choix_rating}
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", "fastchat_counts", *others)}
    errors: dict[str, float] = {}
    rate_with_ties(battles, arguments.players, arguments.prompts, seed=0, resamples=2)  # imports and first touches
    for _ in range(arguments.repeats):
        started = perf_counter()
        rated = rate_with_ties(
            battles, arguments.players, arguments.prompts, seed=arguments.seed, resamples=arguments.resamples
        )
        seconds["ours"].append(perf_counter() - started)
        errors["ours"] = float(np.abs(rated.fit.ratings_P - truth).max())
        started = perf_counter()
        counted = fastchat_counts(battles, arguments.players, arguments.resamples, arguments.seed)
        seconds["fastchat_counts"].append(perf_counter() - started)
        errors["fastchat_counts"] = float(np.abs(counted[0] - truth).max())
        for name, fit in others.items():
            started = perf_counter()
            for _ in range(arguments.fits):
                chosen = draw.integers(0, arguments.battles, arguments.battles)
                found = fit(battles.seats_N2[chosen], battles.outcomes_N[chosen], arguments.players)
            each = (perf_counter() - started) / arguments.fits
            seconds[name].append(each * (1 + arguments.resamples))
            errors[name] = float(np.abs(found - truth).max())
    ours = median(seconds["ours"])
    write_record(
        arguments.output,
        "benchmarks.bench_rating",
        {f"rating_vs_{name}": ours / median(seconds[name]) for name in seconds if name != "ours"},
        seconds,
        {
            f"rating_vs_{name}": "wall seconds of a fit and its bootstrap; less is better"
            for name in seconds
            if name != "ours"
        },
        vars(arguments),
        scaled=f"fastchat and choix: mean of {arguments.fits} resamples, times 1 + {arguments.resamples}",
        largest_error_elo=errors,
    )


if __name__ == "__main__":
    main()
