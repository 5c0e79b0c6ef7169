"""Tests on paired decisions, against an independent implementation."""

import random

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from character_ray.statistics import holm, mcnemar, sign_flip


def test_mcnemar_is_the_binomial_test_on_the_pairs_that_differ():
    draw = random.Random(0)
    for _ in range(50):
        size = draw.randrange(1, 40)
        first, second = ([float(draw.random() < share) for _ in range(size)] for share in (0.3, 0.6))
        more = sum(a > b for a, b in zip(first, second, strict=True))
        differing = more + sum(a < b for a, b in zip(first, second, strict=True))
        expected = binomtest(more, differing).pvalue if differing else 1.0
        assert mcnemar(first, second) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [([1.0], [1.0, 0.0]), ([0.5], [1.0])])
def test_mcnemar_takes_decisions_only(wrong):
    with pytest.raises(ValueError, match="0 or 1"):
        mcnemar(*wrong)


def test_flipped_signs_agree_with_scipys_permutation_test():
    draw = np.random.default_rng(2)
    for size in (2, 3, 7, 12):
        differences = draw.integers(-3, 5, size) / 4
        expected = permutation_test(
            (differences, np.zeros(size)),
            lambda a, b: np.abs((a - b).sum()),
            permutation_type="samples",
            alternative="greater",
            n_resamples=np.inf,
        ).pvalue
        assert sign_flip(differences.tolist(), seed=0) == pytest.approx(expected)
    assert sign_flip([0.0, 0.0], seed=0) == 1.0
    assert sign_flip([1.0] * 6, seed=0) == pytest.approx(2 / 2**6)


def test_drawn_signs_come_near_to_all_signs_and_never_to_zero():
    # Equal differences: the sign test.
    more, fewer = 15, 5
    drawn = sign_flip([0.5] * more + [-0.5] * fewer, seed=1)
    assert drawn == pytest.approx(binomtest(more, more + fewer).pvalue, abs=0.003)  # 4 standard errors of 65,535 draws
    assert drawn == sign_flip([0.5] * more + [-0.5] * fewer, seed=1)
    assert sign_flip([1.0] * 60, seed=0) == pytest.approx(1 / 2**16)


def test_under_the_null_flipped_signs_raise_a_false_alarm_in_five_percent_where_prompts_share_wordings():
    draw, alarms, by_prompt = np.random.default_rng(3), 0, 0
    for _ in range(400):
        lean_C = draw.normal(0, 0.25, 8)
        first, second = (draw.random((8, 6)) < np.clip(0.5 + side * lean_C[:, None], 0, 1) for side in (1, -1))
        alarms += sign_flip((first.mean(1) - second.mean(1)).tolist(), seed=0) < 0.05
        by_prompt += mcnemar(first.ravel().astype(float), second.ravel().astype(float)) < 0.05
    assert alarms / 400 <= 0.07  # 0.05 plus two standard errors of 400 draws
    assert by_prompt / 400 > 0.1, "taking prompts as independent finds differences that are not there"


def test_holm_of_a_worked_example():
    # Sorted: 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, then never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_under_the_null_holm_raises_a_false_alarm_in_at_most_five_percent_of_families():
    draw = random.Random(1)
    alarms = 0
    for _ in range(400):
        p_values = []
        for _ in range(5):
            pairs = [(float(draw.random() < 0.5), float(draw.random() < 0.5)) for _ in range(40)]
            p_values.append(mcnemar([a for a, _ in pairs], [b for _, b in pairs]))
        alarms += min(holm(p_values)) < 0.05
    assert alarms / 400 <= 0.07  # 0.05 plus two standard errors of 400 draws
