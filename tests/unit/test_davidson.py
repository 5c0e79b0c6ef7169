"""Ratings with ties, seats and length: against the formula, against independent libraries, and against what was simulated."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from character_ray.judging.davidson import count_cells, fit_davidson, pair_uncertainty, rate_with_ties
from character_ray.judging.rating import Battles
from character_ray.statistics import expanded_levels

STRENGTHS_P = np.array([-0.8, 0.0, 0.3, 1.1])
SEAT, TIE = 0.4, 0.6
NO_PRIOR = 1e-7


def play(
    draw: np.random.Generator,
    prompts: int,
    *,
    strengths=STRENGTHS_P,
    seat: float = SEAT,
    tie: float = TIE,
    length: float = 0.0,
    spread: float = 0.0,
) -> Battles:
    """Every pair in both seats on every prompt; ``spread`` shifts the strengths from prompt to prompt."""
    players = len(strengths)
    first, second = np.nonzero(~np.eye(players, dtype=bool))
    own_CP = strengths + spread * draw.normal(size=(prompts, players))
    longer_CK = draw.uniform(-1, 1, size=(prompts, len(first)))
    gap_CK = own_CP[:, first] - own_CP[:, second] + seat + length * longer_CK
    weights = np.stack([np.exp(gap_CK / 2), np.full_like(gap_CK, tie), np.exp(-gap_CK / 2)], axis=-1)
    shares = (weights / weights.sum(-1, keepdims=True)).cumsum(-1)
    outcomes = 1 - (draw.random(gap_CK.shape)[..., None] > shares[..., :2]).sum(-1) / 2
    seats = np.tile(np.stack([first, second], axis=1), (prompts, 1))
    numbers = np.repeat(np.arange(prompts), len(first))
    return Battles(seats, outcomes.ravel(), numbers, 0, longer_CK.ravel())


def fit(battles: Battles, players: int = 4, *, seat: bool = True, length: bool = False, prior_games: float = NO_PRIOR):
    cells = count_cells(battles, players, int(battles.prompts_N.max()) + 1, seat=seat, length=length)
    return fit_davidson(cells, cells.total_KO, prior_games=prior_games)


def test_the_estimate_is_the_maximum_of_davidsons_likelihood():
    battles = play(np.random.default_rng(0), 40)
    first, second = battles.seats_N2.T

    def loss(weights):
        gap = weights[first] - weights[second] + weights[4]
        terms = np.stack([gap / 2, np.full_like(gap, weights[5]), -gap / 2], axis=1)
        chosen = terms[np.arange(len(gap)), (2 - 2 * battles.outcomes_N).astype(int)]
        return np.log(np.exp(terms).sum(1)).sum() - chosen.sum() + 1e-6 * weights[:4].sum() ** 2

    found = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-8}).x
    fitted = fit(battles)
    expected = 1000 + 400 / np.log(10) * (found[:4] - found[:4].mean())
    assert fitted.ratings_P == pytest.approx(expected, abs=0.01)
    assert [fitted.seat, fitted.tie] == pytest.approx([400 / np.log(10) * found[4], found[5]], abs=0.01)


def without_ties(draw: np.random.Generator) -> Battles:
    every = play(draw, 60, seat=0.0)
    keep = every.outcomes_N != 0.5
    return Battles(every.seats_N2[keep], every.outcomes_N[keep], every.prompts_N[keep], 0)


def test_without_ties_and_seats_it_agrees_with_choix():
    choix = pytest.importorskip("choix", reason="install requirements/dev.lock")
    battles = without_ties(np.random.default_rng(1))
    won = battles.outcomes_N[:, None] == 1
    winners_first = np.where(won, battles.seats_N2, battles.seats_N2[:, ::-1])
    strength = choix.ilsr_pairwise(4, [tuple(pair) for pair in winners_first.tolist()])
    expected = 1000 + 400 / np.log(10) * (strength - strength.mean())
    assert fit(battles, seat=False).ratings_P == pytest.approx(expected, abs=0.01)


def fastchat(battles: Battles, players: int) -> np.ndarray:
    """Ratings as the Chatbot Arena published them: logistic regression without penalty, a win twice, a tie once to each side."""
    rows, labels, weights = [], [], []
    for (first, second), outcome in zip(battles.seats_N2, battles.outcomes_N, strict=True):
        row = np.zeros(players)
        row[first], row[second] = np.log(10), -np.log(10)
        for label, weight in {1.0: [(1, 2)], 0.0: [(0, 2)], 0.5: [(1, 1), (0, 1)]}[outcome]:
            rows, labels, weights = [*rows, row], [*labels, label], [*weights, weight]
    model = LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(np.array(rows), labels, sample_weight=weights)
    rated = 400 * model.coef_[0]
    return 1000 + rated - rated.mean()


def test_without_ties_and_seats_it_agrees_with_fastchats_method():
    battles = without_ties(np.random.default_rng(2))
    assert fit(battles, seat=False).ratings_P == pytest.approx(fastchat(battles, 4), abs=0.05)


def test_with_ties_it_orders_players_as_fastchats_method_does():
    battles = play(np.random.default_rng(3), 60)
    ours, theirs = fit(battles).ratings_P, fastchat(battles, 4)
    assert np.argsort(ours).tolist() == np.argsort(theirs).tolist()
    # Ties that count half to each side draw the ratings together; Davidson's model does not.
    assert np.ptp(ours) > np.ptp(theirs)


def test_known_parameters_are_recovered():
    fitted = fit(play(np.random.default_rng(4), 3000, length=0.5), length=True, prior_games=1.0)
    points = 400 / np.log(10)
    # About four standard errors of 36,000 battles; the length is rounded to tenths.
    assert fitted.ratings_P - 1000 == pytest.approx(points * (STRENGTHS_P - STRENGTHS_P.mean()), abs=10)
    assert [fitted.seat, fitted.length] == pytest.approx([points * SEAT, points * 0.5 / 3], abs=12)
    assert fitted.tie_share == pytest.approx(TIE / (2 + TIE), abs=0.01)


def test_a_bias_for_length_does_not_reach_the_ratings_when_it_is_modelled():
    draw = np.random.default_rng(5)
    battles = play(draw, 1500, strengths=np.zeros(3), seat=0.0)
    # Player 2 always writes more, and the judge loves length: a tie between equals otherwise.
    longer = np.where(battles.seats_N2[:, 0] == 2, 0.5, np.where(battles.seats_N2[:, 1] == 2, -0.5, 0.0))
    longer = np.clip(longer + draw.uniform(-0.5, 0.5, len(longer)), -1, 1)
    shares = 1 / (1 + np.exp(-1.5 * longer))
    loved = Battles(battles.seats_N2, (draw.random(len(longer)) < shares).astype(float), battles.prompts_N, 0, longer)
    assert np.ptp(fit(loved, 3).ratings_P) > 100
    assert np.ptp(fit(loved, 3, length=True).ratings_P) < 35


def test_the_seat_does_not_reach_the_ratings_when_seats_are_unbalanced():
    draw = np.random.default_rng(6)
    every = play(draw, 2000, strengths=np.zeros(2), seat=1.0)
    keep = (every.seats_N2[:, 0] == 0) | (draw.random(len(every.outcomes_N)) < 0.2)
    skewed = Battles(every.seats_N2[keep], every.outcomes_N[keep], every.prompts_N[keep], 0)
    assert np.ptp(fit(skewed, 2, seat=False).ratings_P) > 60
    assert np.ptp(fit(skewed, 2).ratings_P) < 30


@pytest.mark.parametrize("games", [10, 1000])
def test_who_always_wins_and_a_judge_that_never_leaves_a_seat_stay_finite(games):
    seats = np.array([[0, 1], [1, 0]] * games)
    always = Battles(seats, np.array([1.0, 0.0] * games), np.arange(2 * games), 0)
    rated = rate_with_ties(always, 3, 2 * games, seed=0, resamples=100)
    assert [rated.ratings[0].value, rated.ratings[2].value] == pytest.approx(
        [2000 - rated.ratings[1].value, 1000], abs=1e-4
    )
    assert 1000 < rated.ratings[0].value < 3000
    seated = rate_with_ties(Battles(seats, np.ones(2 * games), np.arange(2 * games), 0), 2, 2 * games, seed=0)
    assert seated.ratings[0].value == pytest.approx(1000)
    assert seated.seat is not None
    assert 300 < seated.seat.value < 4000


def test_the_order_of_battles_and_the_names_of_players_do_not_matter():
    battles = play(np.random.default_rng(7), 30)
    order = np.random.default_rng(8).permutation(len(battles.outcomes_N))
    shuffled = Battles(battles.seats_N2[order], battles.outcomes_N[order], battles.prompts_N[order], 0)
    renamed = Battles(3 - battles.seats_N2, battles.outcomes_N, battles.prompts_N, 0)
    assert fit(shuffled).ratings_P == pytest.approx(fit(battles).ratings_P)
    assert fit(renamed).ratings_P[::-1] == pytest.approx(fit(battles).ratings_P)


def test_exchanging_seats_and_outcomes_turns_the_seat_term_round():
    battles = play(np.random.default_rng(9), 30)
    exchanged = Battles(battles.seats_N2[:, ::-1], 1 - battles.outcomes_N, battles.prompts_N, 0)
    assert fit(exchanged).seat == pytest.approx(-fit(battles).seat)
    assert fit(exchanged).ratings_P == pytest.approx(fit(battles).ratings_P)


def test_counts_too_many_for_a_dense_table_give_the_same_ratings(monkeypatch):
    battles = play(np.random.default_rng(10), 50)
    dense = rate_with_ties(battles, 4, 50, seed=3, resamples=100, length=True)
    monkeypatch.setattr("character_ray.judging.davidson.LARGEST_DENSE", 0)
    sparse = rate_with_ties(battles, 4, 50, seed=3, resamples=100, length=True)
    for one, other in zip(dense.ratings, sparse.ratings, strict=True):
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_what_is_no_outcome_or_no_player_is_refused():
    seats, prompts = np.array([[0, 1]]), np.array([0])
    with pytest.raises(ValueError, match="an outcome is 1"):
        count_cells(Battles(seats, np.array([np.nan]), prompts, 0), 2, 1)
    with pytest.raises(ValueError, match="player index lies outside 0 to 0"):
        count_cells(Battles(seats, np.array([1.0]), prompts, 0), 1, 1)
    with pytest.raises(ValueError, match="no lengths"):
        count_cells(Battles(seats, np.array([1.0]), prompts, 0), 2, 1, length=True)
    with pytest.raises(ValueError, match="greater than 0"):
        fit(Battles(seats, np.array([1.0]), prompts, 0), 2, prior_games=0)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Prompts that favour players differently, both seats, ties: what the field meets is the average over all prompts."""
    spread, prompts, trials = 0.8, 60, 400
    truth_P = fit(play(np.random.default_rng(11), 60_000, spread=spread)).ratings_P
    draw = np.random.default_rng(12)
    covered = []
    for trial in range(trials):
        rated = rate_with_ties(play(draw, prompts, spread=spread), 4, prompts, seed=trial, resamples=400)
        covered += [each.low <= true <= each.high for each, true in zip(rated.ratings, truth_P, strict=True)]
    print(f"coverage {np.mean(covered):.4f} of {len(covered)} intervals")
    assert 0.93 <= np.mean(covered) <= 0.97


def test_the_expanded_interval_is_students_for_a_mean():
    from scipy.stats import norm, t

    low, high = expanded_levels(12)
    # A bootstrap mean of n draws has spread sqrt((n - 1) / n) s / sqrt(n): the normal quantile must make up for both.
    assert norm.ppf(high) * np.sqrt(11 / 12) == pytest.approx(t.ppf(0.975, 11))
    assert low == pytest.approx(1 - high)
    assert expanded_levels(10**9)[0] == pytest.approx(0.025, abs=1e-4)
    assert expanded_levels(1) == (0.0, 1.0)


def test_the_pair_with_fewest_battles_is_the_most_uncertain():
    battles = play(np.random.default_rng(13), 40, strengths=np.zeros(3))
    rare = np.isin(battles.seats_N2, (0, 1)).all(axis=1) | (battles.prompts_N < 4)
    fitted = fit(Battles(battles.seats_N2[rare], battles.outcomes_N[rare], battles.prompts_N[rare], 0), 3)
    _, spread_PP = pair_uncertainty(fitted)
    assert spread_PP[0, 1] < min(spread_PP[0, 2], spread_PP[1, 2])
    assert np.diag(spread_PP) == pytest.approx(0)
