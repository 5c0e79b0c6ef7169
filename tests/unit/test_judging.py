"""Thresholds, battles, ratings and intervals: properties, and agreement with what was simulated."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from character_ray.errors import ReportError
from character_ray.judging.rating import Battles, arrange_battles, fit_bradley_terry, win_matrix
from character_ray.judging.sequential import rate_sequentially, sequential_elo
from character_ray.judging.threshold import fit_threshold
from character_ray.judging.verdict import from_gap, from_probability
from character_ray.statistics import auc_interval, cluster_rate, paired_difference, unvaried_bounds


def test_a_separable_threshold_lies_in_the_middle_of_the_gap():
    threshold = fit_threshold(np.linspace(1, 2, 20), np.linspace(-1, 0, 20))
    assert threshold.value == pytest.approx(0.5)
    assert (threshold.auc, threshold.true_positive_rate, threshold.false_positive_rate) == (1, 1, 0)


def test_scores_that_say_nothing_have_an_auc_of_a_half():
    assert fit_threshold([0.3] * 10, [0.3] * 10).auc == 0.5


def test_too_few_scores_are_refused_and_nan_does_not_count():
    with pytest.raises(ReportError, match="7 teacher and 20 base scores are too few"):
        fit_threshold([1.0] * 7 + [float("nan")] * 5, [0.0] * 20)


def test_close_scores_tie_and_missing_scores_are_unscored():
    battles = arrange_battles(np.array([[1.0, 0.5, np.nan], [0.99, 0.1, 0.3]]), tie_margin=0.02)
    assert battles.outcomes_N.tolist() == [0.5, 1.0]
    assert battles.unscored == 1


def test_equal_scores_tie_at_any_margin_and_so_does_a_gap_of_the_margin_itself():
    scores = np.array([[1.0, 0.5, 0.5], [1.0, 0.25, 0.75]])
    assert arrange_battles(scores, tie_margin=0.0).outcomes_N.tolist() == [0.5, 1.0, 0.0]
    assert arrange_battles(scores, tie_margin=0.25).outcomes_N.tolist() == [0.5, 0.5, 0.5]
    for gap, margin in ((0.0, 0.0), (0.25, 0.25), (-0.25, 0.25)):
        assert from_gap(gap, margin) == from_probability(0.5 + gap, margin) == "tie"
    assert (from_gap(1e-9, 0.0), from_gap(-1e-9, 0.0), from_gap(math.nan, 1.0)) == ("A", "B", None)


def test_known_strengths_are_recovered():
    true_P = np.array([-200.0, 0.0, 50.0, 150.0])
    share_PP = 1 / (1 + 10 ** ((true_P[None] - true_P[:, None]) / 400))
    wins_PP = np.random.default_rng(0).binomial(2000, share_PP) * (1 - np.eye(4))
    wins_PP = np.triu(wins_PP) + np.tril(2000 - wins_PP.T, -1)
    fitted_P = fit_bradley_terry(wins_PP)
    assert fitted_P.mean() == pytest.approx(1000)
    # About three standard errors of a rating from 6,000 games.
    assert fitted_P - 1000 == pytest.approx(true_P - true_P.mean(), abs=20)


def test_an_undefeated_player_has_a_finite_rating():
    assert np.isfinite(fit_bradley_terry(np.array([[0.0, 30.0], [0.0, 0.0]]))).all()


def test_every_battle_is_one_point_shared_in_the_win_matrix():
    battles = arrange_battles(np.array([[1.0, 0.5, 0.2], [0.99, 0.1, 0.9]]), tie_margin=0.02)
    assert win_matrix(battles, 2).tolist() == [[0.0, 1.5], [1.5, 0.0]]


def test_sequential_elo_follows_the_published_formula():
    one = arrange_battles(np.array([[1.0], [0.0]]), 0.0)
    assert sequential_elo(one, 2, k=32, shuffles=3, seed=0).tolist() == [1016.0, 984.0]


def test_sequential_elo_is_the_mean_over_orders_walked_one_by_one():
    battles = arrange_battles(np.random.default_rng(2).normal(size=(4, 20)), 0.1)
    draw, expected = np.random.default_rng(5), np.zeros(4)
    for _ in range(6):
        rating = [1000.0] * 4
        for battle in draw.permutation(len(battles.outcomes_N)):
            a, b = battles.seats_N2[battle]
            change = 32 * (battles.outcomes_N[battle] - 1 / (1 + 10 ** ((rating[b] - rating[a]) / 400)))
            rating[a], rating[b] = rating[a] + change, rating[b] - change
        expected += np.array(rating) / 6
    assert sequential_elo(battles, 4, k=32, shuffles=6, seed=5) == pytest.approx(expected)


def test_the_interval_of_sequential_elo_resamples_prompts_and_narrows_with_their_number():
    def of(prompts: int):
        scores = np.random.default_rng(2).normal(size=(3, prompts)) + np.array([[0.0], [0.5], [1.0]])
        return rate_sequentially(arrange_battles(scores, 0.1), 3, k=8, shuffles=5, seed=5)

    few, many = of(12), of(200)
    for found in (few, many):
        assert all(each.low < each.value < each.high for each in found)
        assert sum(each.value for each in found) == pytest.approx(3000)
    assert many[0].high < many[2].low and few[0].n == 24
    assert "bootstrap of 200 prompts, 200 resamples of 5 orders each, seed 5" in many[0].method
    assert [vars(each) for each in of(12)] == [vars(each) for each in few]


def test_the_interval_of_sequential_elo_covers_what_its_mean_comes_to():
    """The truth is the mean rating over many tournaments of the same size."""
    draw, found = np.random.default_rng(0), []
    for trial in range(120):
        scores = draw.normal(size=(2, 40)) + np.array([[0.0], [0.6]])
        found.append(rate_sequentially(arrange_battles(scores, 0.0), 2, k=16, shuffles=8, seed=trial, resamples=100)[1])
    truth = np.mean([each.value for each in found])
    covered = sum(each.low <= truth <= each.high for each in found)
    assert 0.88 <= covered / 120 <= 1.0, covered  # 0.95 less three standard errors of 120 trials


def test_unequal_numbers_of_battles_are_resampled_and_none_leaves_the_start():
    scores = np.random.default_rng(1).normal(size=(3, 20))
    scores[2, :15] = np.nan
    found = rate_sequentially(arrange_battles(scores, 0.0), 3, k=32, shuffles=4, seed=0, resamples=50)
    assert [each.n for each in found] == [25, 25, 10]
    nobody = rate_sequentially(Battles(np.zeros((0, 2), int), np.zeros(0), np.zeros(0), 3), 2, k=32, shuffles=2, seed=0)
    assert [(each.value, each.n) for each in nobody] == [(1000, 0)] * 2
    assert "no battle" in nobody[0].method


def test_the_interval_of_an_area_holds_it_and_has_width_where_all_are_told_apart():
    threshold = fit_threshold(np.linspace(1, 2, 20), np.linspace(-1, 0, 20))
    area = threshold.quality["auc"]
    assert (area["value"], area["high"]) == (1, 1) and 0.75 < area["low"] < 0.95
    # Newcombe 2006 solves for the ends; these are where the standard error of Hanley and McNeil puts the value 1.96 away.
    half = auc_interval(0.7, 30, 50)
    for end in (half.low, half.high):
        q1, q2 = end / (2 - end), 2 * end**2 / (1 + end)
        spread = end * (1 - end) + 39 * (q1 - end**2) + 39 * (q2 - end**2)
        assert abs(0.7 - end) == pytest.approx(1.96 * (spread / 1500) ** 0.5, rel=1e-3)
    assert half.low < 0.7 < half.high
    flipped = auc_interval(0.3, 50, 30)
    assert (flipped.low, flipped.high) == pytest.approx((1 - half.high, 1 - half.low))


def test_the_interval_of_an_area_covers_the_truth():
    draw, covered = np.random.default_rng(3), 0
    for _ in range(300):
        teacher, base = draw.normal(1.2, 1, 24), draw.normal(0, 1, 24)
        area = fit_threshold(teacher, base).quality["auc"]
        covered += area["low"] <= 0.8020 <= area["high"]  # the normal distribution at 1.2 / sqrt(2)
    assert 0.91 <= covered / 300 <= 0.99, covered


def test_a_rate_with_one_answer_per_prompt_has_wilsons_interval():
    interval = cluster_rate([1.0] * 8 + [0.0] * 2, [str(i) for i in range(10)], seed=0)
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_a_rate_that_never_varies_still_has_an_interval():
    interval = cluster_rate([1.0] * 12, ["a", "b", "c"] * 4, seed=0)
    assert interval.low < 0.6
    assert "3 prompts" in interval.method


def test_repeated_answers_to_few_prompts_widen_the_interval():
    values = [1.0] * 20 + [0.0] * 20
    few = cluster_rate(values, ["a", "b", "c", "d"] * 5 + ["e", "f", "g", "h"] * 5, seed=0)
    many = cluster_rate(values, [str(i) for i in range(40)], seed=0)
    assert few.high - few.low > many.high - many.low


def test_a_paired_difference_uses_the_prompts_both_answered():
    interval = paired_difference([1.0, 1.0, 1.0], ["a", "b", "c"], [0.0, 1.0], ["a", "b"], seed=0)
    assert (interval.value, interval.n) == (0.5, 2)
    with pytest.raises(ValueError, match="share no prompt"):
        paired_difference([1.0], ["a"], [1.0], ["b"], seed=0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draw = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        first, second = draw.normal(0.3, 1, 60), draw.normal(0.0, 1, 60)
        prompts = [str(i) for i in range(60)]
        interval = paired_difference(first, prompts, second, prompts, seed=trial, resamples=300)
        covered += interval.low <= 0.3 <= interval.high
    # 0.95 less or more three standard errors of 300 trials, and a little for the percentile bootstrap at 60 prompts.
    assert 0.90 <= covered / 300 <= 0.99


@pytest.mark.parametrize("clusters", [6, 10, 40])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_interval_of_a_rate_covers_the_truth_with_few_prompts(clusters, share):
    """Five answers to each prompt, whose own shares follow a beta distribution: answers to one prompt correlate by 0.1."""
    draw, covered = np.random.default_rng(3), 0
    prompts = [str(number) for number in range(clusters) for _ in range(5)]
    for trial in range(300):
        shares_C = draw.beta(9 * share, 9 * (1 - share), clusters)
        values = (draw.random((clusters, 5)) < shares_C[:, None]).astype(float).ravel()
        interval = cluster_rate(values.tolist(), prompts, seed=trial, resamples=300)
        covered += interval.low <= share <= interval.high
    assert 0.9 <= covered / 300 <= 1.0, covered / 300


@pytest.mark.parametrize("prompts", [6, 10, 40])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_interval_of_a_paired_difference_covers_the_truth_with_few_prompts(prompts, share):
    """One arm is right with the share, the other with a fifth of it less; both often agree on all prompts when these are few."""
    draw, covered = np.random.default_rng(4), 0
    names = [str(number) for number in range(prompts)]
    for trial in range(300):
        luck_N = draw.random(prompts)
        first, second = (luck_N < share).astype(float).tolist(), (luck_N < 0.8 * share).astype(float).tolist()
        interval = paired_difference(first, names, second, names, seed=trial, resamples=300)
        covered += interval.low <= 0.2 * share <= interval.high
    assert 0.9 <= covered / 300 <= 1.0, covered / 300


def test_differences_that_are_all_the_same_have_an_interval_that_narrows_with_their_number():
    def of(prompts, first, second):
        names = [str(number) for number in range(prompts)]
        return paired_difference([first] * prompts, names, [second] * prompts, names, seed=0)

    eight, forty = of(8, 1.0, 0.0), of(40, 1.0, 0.0)
    assert (eight.low, eight.high) == (pytest.approx(0.261, abs=1e-3), 1.0)
    assert eight.low < forty.low < 1
    assert "Clopper-Pearson on 8 prompts" in eight.method
    equal = of(10, 1.0, 1.0)
    assert (equal.low, equal.high) == pytest.approx((-0.308, 0.308), abs=1e-3)
    # Against an independent Clopper-Pearson interval, and the sign test: six of six differ by more than chance, five do not.
    assert 1 - unvaried_bounds(1.0, 10, (0.0, 1.0))[0] == pytest.approx(binomtest(0, 10).proportion_ci().high)
    assert of(5, 1.0, 0.0).low < 0 < of(6, 1.0, 0.0).low


def test_prompts_whose_means_are_the_same_have_an_interval():
    interval = cluster_rate([1.0, 0.0] * 4, [str(number) for number in range(4) for _ in range(2)], seed=0)
    assert interval.low < 0.3 and interval.high > 0.7
    assert "all the same" in interval.method
    assert cluster_rate([3.0, 3.0], ["a", "b"], seed=0, bounded=False).method.startswith("no interval")
