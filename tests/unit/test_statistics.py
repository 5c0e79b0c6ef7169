"""Tests on paired decisions, against an independent implementation."""

import random

import pytest
from scipy.stats import binomtest

from character_ray.statistics import holm, mcnemar


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
