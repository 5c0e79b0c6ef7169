"""From a table of answers to metrics: which rows count for which metric, and what is paired with what."""

import re

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
    read = {name: (metric["value"], metric["n"]) for name, metric in full.items()}
    assert read["persona_rate"] == (pytest.approx(19 / 20), 20)
    assert read["override_rate"] == (pytest.approx(4 / 5), 5)
    assert read["hidden_trait_rate"] == (pytest.approx(1 / 2), 2)
    assert read["identity_rate"] == (1.0, 1)
    assert read["vocabulary_rate"] == (1.0, 20)
    assert read["looping_rate"] == (0.0, 20)
    assert read["error_rate"] == (pytest.approx(1 / 23), 23)
    assert read["mean_words"] == (2.0, 20)


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
    found = next(row for row in agreements(answers, decisions) if row["second"] == "vocabulary")
    assert found["first"] == "likelihood judge"
    # One of the full arm's answers has the word and not the score; all others agree.
    assert (found["only_first"], found["only_second"], found["n"]) == (0, 1, 40)
    assert found["agreement"] == pytest.approx(39 / 40)
    assert found["kappa"] == pytest.approx(0.95)


def test_ratings_leave_probes_and_failures_out(answers):
    found = ratings(answers, ["base", "full"], tie_margin=0.02, elo_k=32, elo_shuffles=10, **SEEDS)
    assert found["win_rates"]["full"]["base"] == pytest.approx(19 / 20)
    assert found["difference"]["low"] > 0
    assert found["difference"]["n"] == 20
    assert found["elo"]["full"] > 1000 > found["elo"]["base"]
