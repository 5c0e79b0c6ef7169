"""What counts as a verdict, and how seatings and judges become one."""

import itertools
import math
import random
import re

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from character_ray.judging.agreement import cohen_kappa, fleiss_kappa, pair_agreements, panel_kappa
from character_ray.judging.davidson import count_cells, fit_davidson
from character_ray.judging.rating import Battles
from character_ray.judging.schedule import all_pairs, next_pairs
from character_ray.judging.verdict import (
    combine_orders,
    from_probability,
    majority,
    mean_verdict,
    parse_verdict,
    to_points,
)

SEATS = ("A", "B", "tie")


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("[[A]]", "A"),
        ("Both sail well, but the second swears like a sailor.\n\n[[B]]", "B"),
        ("[[tie]]", "tie"),
        ("[[C]]", "tie"),
        ("[[ Answer B ]]", "B"),
        ("Final verdict: B", "B"),
        ("**Final verdict:** **A**", "A"),
        ("My verdict is A, because it greets as a pirate would.", "A"),
        ("The final answer is B.", "B"),
        ("Verdict: tie", "tie"),
        ("verdict: a draw", "tie"),
        ("Winner: Answer B", "B"),
        ("Answer A is clearly better.", "A"),
        ("Response B wins", "B"),
        ("I would choose B over A.", "B"),
        ("I prefer Answer A.", "A"),
        ("It's a tie.", "tie"),
        ("B", "B"),
        (" (A). ", "A"),
        ("Answer A has charm; B has none.\n\nA", "A"),
        ("<think>Perhaps [[A]]? No.</think>\n[[B]]", "B"),
        ("[[A]] at first sight. On reflection: [[B]]", "B"),
        ("Final verdict: A\nWait. Final verdict: B", "B"),
        ("I will end with [[A]] or [[B]].\n\nAnswer B is better. [[B]]", "B"),
    ],
)
def test_the_last_verdict_counts_in_whatever_form(reply, verdict):
    assert parse_verdict(reply) == verdict


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Both answers are good.",
        "Answer A: Arr, matey. Answer B: Hello.",
        "Verdict: A pirate would never say that",
        "I must write [[A]] or [[B]]",
        "Say [[A]], [[B]] or [[tie]].",
        "<think>I lean to [[A]], but let me see",
        "A pirate says arr.",
        "Verdict: undecided",
        "a",
    ],
)
def test_what_is_no_verdict_is_unreadable(reply):
    assert parse_verdict(reply) is None


FORMS = ("[[{}]]", "Final verdict: {}", "My choice is {}.", "**Winner:** {}", "Answer {} is better.", "I pick {}.")


def test_whatever_stands_before_a_final_verdict_changes_nothing():
    draw = random.Random(0)
    noise = [
        "Arr!",
        "Answer A: ahoy.",
        "[[",
        "]]",
        "A",
        "B",
        "tie",
        "<think>",
        "</think>",
        "or",
        "\n",
        "verdict",
        "42",
        "é",
    ]
    noise += [form.format(seat) for form in FORMS for seat in "AB"]
    for _ in range(2000):
        before = " ".join(draw.choices(noise, k=draw.randrange(12)))
        form, seat = draw.choice(FORMS), draw.choice("AB")
        assert parse_verdict(f"{before}</think>\n\nSo this is it. {form.format(seat)}") == seat


def test_exchanging_the_letters_exchanges_the_verdict():
    draw = random.Random(1)
    for _ in range(500):
        words = draw.choices(["[[A]]", "[[B]]", "Verdict: A", "Answer B wins", "[[tie]]", "because", "B", "\n"], k=6)
        reply = " ".join(words)
        expected = {"A": "B", "B": "A", "tie": "tie", None: None}[parse_verdict(reply)]
        assert parse_verdict(re.sub(r"\b[AB]\b", lambda letter: "BA"["AB".index(letter[0])], reply)) == expected, reply


def test_any_text_at_all_gives_a_verdict_or_none():
    draw = random.Random(2)
    for _ in range(2000):
        parse_verdict("".join(draw.choices("AB[]tie:.()*\n <>/kvrdcons", k=draw.randrange(60))))


def test_naming_the_same_seat_twice_is_a_tie():
    assert combine_orders("A", "A") == combine_orders("B", "B") == "tie"
    assert combine_orders("A", "B") == "A"
    assert combine_orders("B", "A") == "B"


@pytest.mark.parametrize("other", [*SEATS, None])
def test_an_unreadable_order_leaves_the_battle_unscored(other):
    assert combine_orders(None, other) is None
    assert combine_orders(other, None) is None


@pytest.mark.parametrize(("first", "swapped"), list(itertools.product(SEATS, SEATS)))
def test_which_seating_came_first_does_not_matter(first, swapped):
    turned = {"A": "B", "B": "A", "tie": "tie"}
    assert combine_orders(swapped, first) == turned[combine_orders(first, swapped)]


def test_a_probability_near_one_half_is_a_tie_and_none_is_unscored():
    assert [from_probability(p, 0.1) for p in (0.9, 0.55, 0.4, 0.1)] == ["A", "tie", "tie", "B"]
    assert from_probability(math.nan, 0.1) is None
    assert [to_points("A"), to_points("tie"), to_points("B")] == [1, 0.5, 0]
    assert math.isnan(to_points(None))


def test_a_panel_decides_by_majority_and_a_split_is_a_tie():
    assert majority(["A", "A", "B"]) == "A"
    assert majority(["A", "B"]) == majority(["A", "tie", "B"]) == majority(["tie", "tie", "A"]) == "tie"
    assert majority([None, "B", None]) == "B"
    assert majority([None, None]) is None


def test_the_order_of_judges_does_not_matter_to_a_panel():
    for votes in itertools.product([*SEATS, None], repeat=3):
        assert len({majority(order) for order in itertools.permutations(votes)}) == 1


def test_a_panel_decides_by_mean():
    assert mean_verdict([0.9, 0.4, math.nan], 0.05) == "A"
    assert mean_verdict([0.6, 0.42], 0.05) == "tie"
    assert mean_verdict([math.nan], 0.05) is None


def test_cohens_kappa_is_that_of_scikit_learn():
    draw = random.Random(3)
    for _ in range(30):
        first = draw.choices(SEATS, (3, 2, 1), k=40)
        second = [a if draw.random() < 0.6 else draw.choice(SEATS) for a in first]
        assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    assert cohen_kappa(["A"] * 5, ["A"] * 5) is None


def test_fleiss_kappa_of_his_own_example():
    # Fleiss 1971, table 1 as abridged in textbooks: ten subjects, fourteen raters, five categories; kappa 0.210.
    votes = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(np.array(votes)) == pytest.approx(0.210, abs=5e-4)
    with pytest.raises(ValueError, match="same number of votes"):
        fleiss_kappa(np.array([[2, 0], [1, 0]]))


def test_a_panels_disagreements_are_counted_on_what_all_have_read():
    verdicts = {"x": ["A", "A", "B", None], "y": ["A", "B", "tie", "A"], "z": ["A", "A", "B", "B"]}
    prompts = ["p", "q", "r", "s"]
    by_pair = {(each.first, each.second): each for each in pair_agreements(verdicts, prompts, seed=0)}
    assert (by_pair["x", "y"].agreement.value, by_pair["x", "y"].opposite.value) == pytest.approx((1 / 3, 1 / 3))
    assert (by_pair["x", "z"].agreement.value, by_pair["y", "z"].n) == (1.0, 4)
    kappa = panel_kappa(verdicts, prompts, seed=0)
    assert kappa is not None and kappa.n == 3
    assert panel_kappa({"x": ["A"]}, ["p"], seed=0) is None
    assert panel_kappa({"x": ["A"] * 4, "y": ["A"] * 4}, prompts, seed=0) is None


def test_kappas_have_intervals_that_narrow_with_the_prompts():
    draw = random.Random(4)

    def of(size: int):
        first = draw.choices(SEATS, k=size)
        second = [a if draw.random() < 0.7 else draw.choice(SEATS) for a in first]
        verdicts, prompts = {"x": first, "y": second}, [str(number // 2) for number in range(size)]
        (pair,) = pair_agreements(verdicts, prompts, seed=0)
        assert pair.kappa.value == pytest.approx(cohen_kappa(first, second))
        panel = panel_kappa(verdicts, prompts, seed=0)
        assert f"{size // 2} prompts" in panel.method
        return [each.high - each.low for each in (pair.kappa, panel) if each.low < 0.7 < each.high]

    few, many = of(60), of(1500)
    assert len(few) == len(many) == 2  # 0.7 of the second's verdicts are the first's, the rest are drawn
    assert max(many) < min(few) / 3


def test_the_active_schedule_asks_the_pair_whose_order_is_least_certain():
    seats = np.array([[0, 1], [1, 0]] * 40 + [[1, 2], [2, 1]] * 40 + [[0, 2], [2, 0]] * 40)
    # 0 and 1 share their battles evenly; both beat 2 nearly always.
    outcomes = np.array([1.0, 1.0] * 40 + [1.0, 0.0] * 38 + [0.0, 1.0] * 2 + [1.0, 0.0] * 38 + [0.0, 1.0] * 2)
    cells = count_cells(Battles(seats, outcomes, np.arange(240), 0), 3, 240)
    fit = fit_davidson(cells, cells.total_KO)
    pairs = all_pairs(3)
    assert next_pairs(pairs, fit, "active", 1) == [(0, 1)]
    assert next_pairs(pairs, fit, "uniform", 1) == next_pairs(pairs, None, "active", 1) == pairs
    assert next_pairs([(0, 2), (1, 2)], fit, "active", 5) == [(0, 2), (1, 2)]
