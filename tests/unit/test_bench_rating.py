"""What ours is timed beside is what was published: it recovers the ratings, and its two forms agree."""

import numpy as np
import pytest

from benchmarks.bench_evaluation import in_batches, play
from benchmarks.bench_rating import choix_rating, fastchat, fastchat_counts, simulate
from character_ray.judging.davidson import rate_with_ties
from character_ray.judging.rating import Battles


def test_fastchats_notebook_and_its_counts_are_the_same_model():
    battles, _ = simulate(4000, 5, 50, seed=0)
    counted = fastchat_counts(battles, 5, resamples=3, seed=0)
    assert counted.shape == (4, 5)
    assert counted[0] == pytest.approx(fastchat(battles.seats_N2, battles.outcomes_N, 5), abs=0.5)


def test_without_ties_all_of_them_find_what_was_simulated():
    pytest.importorskip("choix", reason="install requirements/dev.lock")
    battles, truth = simulate(60_000, 5, 500, seed=1)
    keep = battles.outcomes_N != 0.5
    decided = Battles(battles.seats_N2[keep], battles.outcomes_N[keep], battles.prompts_N[keep], 0)
    ours = rate_with_ties(decided, 5, 500, seed=0, resamples=100)
    found = {
        "ours": [each.value for each in ours.ratings],
        "counts": fastchat_counts(decided, 5, 0, 0)[0],
        "choix": choix_rating(decided.seats_N2, decided.outcomes_N, 5),
    }
    for name, ratings in found.items():
        # About four standard errors of 20,000 battles a player, and the seat that two of them do not know.
        assert ratings == pytest.approx(truth, abs=12), name


def test_a_field_of_the_stopping_benchmark_knows_its_better_players():
    battles = play(np.random.default_rng(0), np.array([-1.0, 0.0, 1.0]), 60, spread=0.5)
    ratings = [each.value for each in rate_with_ties(battles, 3, 60, seed=0, resamples=100).ratings]
    assert ratings == sorted(ratings)


def test_a_judge_is_timed_on_every_row_in_batches_and_in_order():
    sizes = []

    def judge(batch):
        sizes.append(len(batch["prompt"]))
        return {"first_wins": [float(text) for text in batch["prompt"]]}

    seconds, found = in_batches(judge, [{"prompt": str(number)} for number in range(5)], ("prompt",), 2)
    assert (sizes, found) == ([2, 2, 1], [0.0, 1.0, 2.0, 3.0, 4.0])
    assert seconds >= 0
