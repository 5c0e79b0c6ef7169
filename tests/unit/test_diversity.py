"""Distinct n-grams of arms that speak at different length are compared over as many words."""

import numpy as np
import pytest

from character_ray.evaluation.diversity import count_words, distinct, distinct_interval, distinct_of_as_many, diversity


def test_who_speaks_longer_is_compared_over_as_many_words():
    draw = np.random.default_rng(0)
    vocabulary = [f"w{number}" for number in range(400)]
    short, long = ([" ".join(draw.choice(vocabulary, words)) for _ in range(40)] for words in (10, 40))
    # Both draw their words alike; over all words the longer answers look like a parrot's.
    assert distinct(long, 1) < 0.5 * distinct(short, 1)
    found = [distinct_of_as_many(texts, 1, count_words(short), seed=0) for texts in (short, long)]
    assert found[0] == distinct(short, 1)
    assert found[1] == pytest.approx(found[0], abs=0.03)  # 3 standard errors of a share of 400 words
    assert found[1] == distinct_of_as_many(long, 1, count_words(short), seed=0)
    assert distinct_of_as_many(["a b c d"], 1, 3, seed=0) == distinct_of_as_many(["a a b"], 2, 3, seed=0) == 1
    figures = diversity(long, [str(n) for n in range(40)], np.eye(40), [0.0] * 40, words=400, seed=0, resamples=100)
    method = figures["metrics"]["distinct_1"]["method"]
    assert "over 400 words" in method and "as many words in every arm, since it falls with their number" in method


def test_the_interval_of_distinct_words_covers_what_further_answers_would_show():
    draw = np.random.default_rng(0)
    chances = 1 / np.arange(1, 601)
    chances /= chances.sum()

    def answers() -> list[str]:
        return [" ".join(f"w{word}" for word in draw.choice(600, draw.integers(10, 30), p=chances)) for _ in range(30)]

    truth = np.mean([distinct_of_as_many(answers(), 1, 400, seed=0) for _ in range(100)])
    found = [distinct_interval(answers(), [str(n) for n in range(30)], 1, 400, seed=0) for _ in range(60)]
    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.9
    assert np.median([each.high - each.low for each in found]) < 0.15
    alone = distinct_interval(["so it is", "and so on"], ["one", "one"], 1, 400, seed=0)
    assert alone.low == alone.high and "one prompt alone" in alone.method
