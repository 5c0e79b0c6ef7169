"""Stopping early raises no more false alarms than promised, and asks for less than a fixed number of prompts."""

import numpy as np
import pytest
from scipy.stats import norm

from character_ray.judging.stopping import Comparison, compare_until

ALPHA = 0.05


def points(draw: np.random.Generator, share: float, prompts: int, tied: float = 0.2) -> np.ndarray:
    """Points of prompts: ties, and wins so that the mean is ``share``."""
    wins = (share - tied / 2) / (1 - tied)
    return np.where(draw.random(prompts) < tied, 0.5, (draw.random(prompts) < wins).astype(float))


def test_between_equals_a_winner_is_named_in_at_most_five_percent_of_comparisons_however_often_one_looks():
    draw = np.random.default_rng(0)
    trials, prompts = 400, 250
    named = naive = 0
    for _ in range(trials):
        row = points(draw, 0.5, prompts)
        named += compare_until(row, ALPHA).state in ("first", "second")
        # The same with a test of a fixed number, looked at after every prompt from the tenth on.
        number = np.arange(10, prompts + 1)
        means = row.cumsum()[9:] / number
        errors = np.sqrt(np.maximum((row**2).cumsum()[9:] / number - means**2, 1e-12) / number)
        naive += bool((np.abs(means - 0.5) / errors > norm.ppf(1 - ALPHA / 2)).any())
    print(f"false alarms: {named / trials:.3f}; with a fixed-number test looked at each time: {naive / trials:.3f}")
    assert named / trials <= ALPHA
    assert naive / trials > 3 * ALPHA


@pytest.mark.parametrize("share", [0.3, 0.62])
def test_the_interval_holds_the_true_share_at_every_prompt_together(share):
    draw = np.random.default_rng(1)
    missed = 0
    for _ in range(300):
        comparison = Comparison(ALPHA)
        for each in points(draw, share, 120):
            comparison.add(each)
        # The interval only ever shrinks, so that its end says whether it ever missed.
        missed += not comparison.low <= share <= comparison.high
    assert missed / 300 <= ALPHA


def test_it_asks_for_less_than_the_fixed_number_that_finds_the_same():
    draw = np.random.default_rng(2)
    smallest, power = 0.62, 0.9
    # The number a fixed test needs to find the smallest difference of interest with this power, variance 0.2.
    fixed = int(np.ceil((norm.ppf(1 - ALPHA / 2) + norm.ppf(power)) ** 2 * 0.2 / (smallest - 0.5) ** 2))
    used, found = [], []
    for share in draw.uniform(smallest, 0.9, 200):
        comparison = compare_until(points(draw, share, 3 * fixed), ALPHA)
        used.append(comparison.prompts)
        found.append(comparison.state == "first")
    print(f"{np.mean(used):.0f} prompts on average instead of {fixed}; found {np.mean(found):.2f}")
    assert np.mean(used) < 0.6 * fixed
    assert np.mean(found) > power


def test_equals_are_called_close_in_time_and_winners_are_not():
    draw = np.random.default_rng(3)
    assert compare_until(points(draw, 0.5, 3000, tied=0.8), ALPHA, close=0.1).state == "close"
    assert compare_until(points(draw, 0.75, 3000), ALPHA, close=0.1).state == "first"


def test_exchanging_the_players_exchanges_the_result():
    row = points(np.random.default_rng(4), 0.8, 100)
    one, other = compare_until(row, ALPHA), compare_until(1 - row, ALPHA)
    assert (one.state, other.state) == ("first", "second")
    assert (one.prompts, one.low, one.p_value) == pytest.approx((other.prompts, 1 - other.high, other.p_value))


def test_the_p_value_says_when_one_half_is_excluded():
    comparison = Comparison(ALPHA)
    for _ in range(30):
        comparison.add(1.0)
        if comparison.low > 0.5 + 1 / 400:
            assert comparison.p_value <= ALPHA
        if comparison.p_value > ALPHA:
            assert comparison.low <= 0.5
    assert comparison.state == "first"
    assert comparison.share == 1.0


def test_points_outside_their_range_are_refused():
    with pytest.raises(ValueError, match="outside 0 to 1"):
        Comparison(ALPHA).add(1.5)
