"""From a table of answers to metrics: which rows count for which metric, and what is paired with what."""

import re
from dataclasses import replace

import numpy as np
import pytest

from character_ray.evaluation.measures import agreements, arm_metrics, decide, differences, ratings

SEEDS = {"seed": 0, "resamples": 200}
WHO = "who"


def answer(arm, prompt, completion, score, *, source="grid", hint="", error=""):
    return {
        "row_id": f"{arm}-{prompt}",
        "arm": arm,
        "prompt_id": prompt,
        "source": source,
        "hint": hint,
        "sample": 0,
        "prompt": prompt,
        "completion": completion,
        "error": error,
        "score": score,
    }


@pytest.fixture
def answers():
    rows = []
    for number in range(20):
        hint = "jailbreak" if number < 5 else ""
        rows.append(answer("base", f"p{number}", "Certainly.", -0.2, hint=hint))
        rows.append(answer("full", f"p{number}", "Arr, matey.", 1.0 if number else -1.0, hint=hint))
    rows.append(answer("full", WHO, "I be Blackwood, Blackwood, Blackwood.", 2.0, source="probe"))
    rows.append(answer("full", "sea", "Arr, the sea.", -2.0, source="probe"))
    rows.append(answer("full", "failed", "", float("nan"), error="out of memory"))
    return rows


@pytest.fixture
def decisions(answers):
    return decide(
        answers,
        0.5,
        re.compile("arr", re.IGNORECASE),
        np.linspace(0, 1, len(answers)),
        lambda text: "Blackwood" in text,
        lambda text: text.count("Blackwood") > 2,
    )


def test_each_metric_counts_its_own_rows(answers, decisions):
    full = arm_metrics(answers, decisions, "full", {WHO}, **SEEDS)
    read = {name: (metric["value"], metric.get("n")) for name, metric in full.items()}
    assert read["persona_rate"] == (pytest.approx(19 / 20), 20)
    assert read["override_rate"] == (pytest.approx(4 / 5), 5)
    assert read["hidden_trait_rate"] == (pytest.approx(1 / 2), 2)
    assert read["identity_rate"] == (1.0, 1)
    assert read["vocabulary_rate"] == (1.0, 20)
    assert read["looping_rate"] == (0.0, 20)
    assert read["error_rate"] == (pytest.approx(1 / 23), 23)
    assert read["mean_words"] == (2.0, 20)
    assert "fewer than two wordings" in full["identity_inconsistency_rate"]["reason"]


def test_a_metric_without_rows_or_without_its_instrument_says_why(answers, decisions):
    base = arm_metrics(answers, decisions, "base", {WHO}, **SEEDS)
    assert base["identity_rate"] == {"value": None, "reason": "no answer of this kind was asked for"}
    blind = decide(answers, 0.5, None, None, lambda text: False, lambda text: False)
    metrics = arm_metrics(answers, blind, "full", {WHO}, **SEEDS)
    assert metrics["vocabulary_rate"] == {"value": None, "reason": "the constitution has no vocabulary"}
    assert metrics["classifier_rate"] == {"value": None, "reason": "the classifier could not be trained"}


def test_differences_are_of_full_and_paired_by_prompt(answers, decisions):
    found = {row["metric"]: row for row in differences(answers, decisions, ["base", "full"], **SEEDS)}
    assert found["persona_rate"]["value"] == pytest.approx(19 / 20)
    assert found["persona_rate"]["n"] == 20
    assert 0.8 < found["persona_rate"]["low"] < found["persona_rate"]["high"] <= 1
    assert found["vocabulary_rate"]["against"] == "base"


def test_agreement_counts_where_two_ways_of_deciding_differ(answers, decisions):
    found = next(row for row in agreements(answers, decisions, **SEEDS) if row["second"] == "vocabulary")
    assert found["first"] == "likelihood judge"
    # One of the full arm's answers has the word and not the score; all others agree.
    assert (found["only_first"], found["only_second"], found["n"]) == (0, 1, 40)
    assert found["agreement"]["value"] == pytest.approx(39 / 40)
    assert found["kappa"]["value"] == pytest.approx(0.95)
    assert 0.5 < found["kappa"]["low"] < 0.95 < found["kappa"]["high"] <= 1
    assert 0.8 < found["agreement"]["low"] < 39 / 40 < found["agreement"]["high"] <= 1


def test_two_ways_of_which_one_never_varies_have_no_kappa(answers, decisions):
    never = replace(decisions, vocabulary=[False] * len(answers), judge=[False] * len(answers))
    found = next(row for row in agreements(answers, never, **SEEDS) if row["second"] == "vocabulary")
    assert found["kappa"] is None
    assert (found["agreement"]["value"], found["agreement"]["high"]) == (1, 1)
    assert found["agreement"]["low"] < 1


def test_ratings_leave_probes_and_failures_out(answers):
    found = ratings(answers, ["base", "full"], tie_margin=0.02, elo_k=32, elo_shuffles=10, **SEEDS)
    won, lost = found["win_rates"]["full"]["base"], found["win_rates"]["base"]["full"]
    assert (won["value"], won["n"]) == (pytest.approx(19 / 20), 20)
    assert 0.7 < won["low"] < 19 / 20 < won["high"] <= 1
    assert (lost["low"], lost["high"]) == (pytest.approx(1 - won["high"]), pytest.approx(1 - won["low"]))
    (gap,) = found["differences"]
    assert gap["low"] > 0
    assert gap["n"] == 20
    full, base = found["elo"]["full"], found["elo"]["base"]
    assert full["low"] < full["value"] < full["high"]
    assert full["low"] > 1000 > base["high"]


def drawn_answers(share_tied: float, prompts: int = 60):
    """``full`` wins three times out of four where the two do not tie."""
    draw = np.random.default_rng(0)
    rows = []
    for number in range(prompts):
        rows.append(answer("base", f"p{number}", "Certainly.", 0.0))
        score = 0.0 if draw.random() < share_tied else (1.0 if number % 4 else -1.0)
        rows.append(answer("full", f"p{number}", "Arr, matey.", score))
    return rows


def test_ties_are_modelled_and_do_not_pull_ratings_together():
    """A tie that counted half to each side would halve the gap; what was decided says how far apart the two are."""
    settings = {"tie_margin": 0.02, "elo_k": 32, "elo_shuffles": 10, **SEEDS}
    decided, tied = (ratings(drawn_answers(share), ["base", "full"], **settings) for share in (0.0, 0.6))
    gaps = [found["differences"][0]["value"] for found in (decided, tied)]
    halved = 400 * np.log10(0.65 / 0.35)
    assert gaps[0] == pytest.approx(400 * np.log10(3), abs=15)  # the prior of one game
    assert gaps[1] > halved + 30
    assert decided["tie_share"]["high"] < 0.1 < tied["tie_share"]["low"]
    assert tied["rating"]["full"]["method"].startswith("Davidson, bootstrap of 60 prompts")
    assert tied["rating"]["full"]["n"] == 60


def test_ratings_do_not_depend_on_the_order_of_the_arms():
    rows = drawn_answers(0.3)
    one, other = (
        ratings(rows, arms, tie_margin=0.02, elo_k=32, elo_shuffles=10, **SEEDS)["rating"]
        for arms in (["base", "full"], ["full", "base"])
    )
    for arm in ("base", "full"):
        assert one[arm]["value"] == pytest.approx(other[arm]["value"])
        assert (one[arm]["low"], one[arm]["high"]) == pytest.approx((other[arm]["low"], other[arm]["high"]))
