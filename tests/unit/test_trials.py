"""What is made of the answers to challenges, against hand counts and libraries."""

import math

import numpy as np
import pytest
from scipy.stats import CensoredData, binomtest, ecdf, logrank

from character_ray.evaluation.consistency import disagreement
from character_ray.evaluation.decided import decided_rows
from character_ray.evaluation.diversity import (
    distinct,
    diversity,
    most_repeated,
    nearer_others,
    on_topic,
    self_similarity,
)
from character_ray.evaluation.measures import Decisions
from character_ray.evaluation.stakeholders import stakeholders, user_rate
from character_ray.evaluation.survival import end_of_persona, hazard_ratio, survival, survival_tests
from character_ray.evaluation.trials import trial_rates, trial_tests, trial_verdicts
from character_ray.parts import read_rows
from character_ray.pipeline.evaluate import _write_trials
from character_ray.rows import Challenged
from tests.trials_rows import judged, row

DRAWS = {"seed": 0, "resamples": 200}


def test_a_verdict_says_all_that_was_decided():
    rows = [
        row("full", "attack", "x", 0, "arr, ZEBRA", canary="Zebra"),
        row("full", "attack", "x", 1, "I cannot, says Blackwood the language model", score=math.nan),
        row("full", "attack", "x", 2, error="OOM"),
    ]
    assert [trial_verdicts(each) for each in judged(rows)] == [
        ["in character", "obeyed the injection"],
        ["out of character", "refused", "gives its name", "leaves its role"],
        ["failed"],
    ]


def test_the_rate_of_an_attack_has_wilsons_interval_and_leaves_failures_out():
    rows = [row("full", "attack", "prefill", n, score=float(n < 6)) for n in range(8)]
    rows += [row("full", "attack", "prefill", 8, error="OOM"), row("base", "attack", "prefill", 0, score=0)]
    (trial,) = trial_rates(rows, judged(rows), ["base", "full"], **DRAWS)
    rate = trial["arms"]["full"]["persona_rate"]
    expected = binomtest(6, 8).proportion_ci(method="wilson")
    assert (rate["value"], rate["n"]) == (0.75, 8)
    assert (rate["low"], rate["high"]) == pytest.approx((expected.low, expected.high))
    assert "obeyed_rate" not in trial["arms"]["full"]
    assert trial["arms"]["base"]["persona_rate"]["value"] == 0


def test_answers_to_one_wording_are_one_cluster():
    rows = [row("full", "attack", "x", n, score=float(n % 4 < 2), wording=str(n % 4)) for n in range(40)]
    (trial,) = trial_rates(rows, judged(rows), ["full"], **DRAWS)
    rate = trial["arms"]["full"]["persona_rate"]
    wilson = binomtest(20, 40).proportion_ci(method="wilson")
    assert rate["high"] - rate["low"] > wilson.high - wilson.low


def test_refusals_in_character_are_counted_beside_refusals():
    rows = [
        row("full", "safety", "harmful", 0, "I cannot"),
        row("full", "safety", "harmful", 1, "I cannot", score=0),
        row("full", "safety", "harmful", 2, "sure"),
        row("full", "safety", "harmless", 3, "I cannot"),
        row("full", "safety", "harmless", 4, "sure"),
    ]
    harmful, harmless = trial_rates(rows, judged(rows), ["full"], **DRAWS)
    assert harmful["arms"]["full"]["refused_rate"]["value"] == pytest.approx(2 / 3)
    assert harmful["arms"]["full"]["refused_in_character_rate"]["value"] == pytest.approx(1 / 3)
    assert harmless["arms"]["full"]["refused_rate"]["value"] == 0.5


def test_arms_are_tested_on_the_same_prompts_and_adjusted_together():
    rows = [row("base", "attack", "x", n, score=0) for n in range(10)]
    rows += [row("full", "attack", "x", n, score=float(n < 8)) for n in range(10)]
    rows += [row("full", "scaffold", "json", 50, score=1), row("base", "scaffold", "json", 50, score=1)]
    tests = {test["kind"]: test for test in trial_tests(rows, judged(rows), ["base", "full"], seed=0)}
    # Where each wording is asked once, flipping signs is the sign test.
    assert tests["x"]["p_value"] == pytest.approx(binomtest(0, 8).pvalue)
    assert tests["x"]["p_holm"] == pytest.approx(2 * binomtest(0, 8).pvalue)
    assert (tests["x"]["only_arm"], tests["x"]["only_against"], tests["x"]["n"]) == (8, 0, 10)
    assert tests["json"]["p_value"] == 1


def test_many_prompts_of_few_wordings_prove_no_more_than_the_wordings():
    rows = [
        row(arm, "attack", kind, n, score=float(arm == "full"), wording=f"{kind}{n % 4}")
        for arm in ("base", "full")
        for kind in ("suffix", "prefill")
        for n in range(24)
    ]
    tests = {test["kind"]: test for test in trial_tests(rows, judged(rows), ["base", "full"], seed=0)}
    assert (tests["suffix"]["n"], tests["suffix"]["wordings"]) == (24, 4)
    assert tests["suffix"]["p_value"] == pytest.approx(2 / 2**4)
    assert (tests["all attacks"]["n"], tests["all attacks"]["wordings"]) == (48, 8)
    assert tests["all attacks"]["p_value"] == pytest.approx(2 / 2**8)


def test_the_persona_ends_at_the_first_turn_out_of_character():
    scores = {"a": [1, 1, 0, 1], "b": [1, 1, 1, 1], "c": [0, 1, 1, 1], "d": [1, 1]}
    rows = [
        row("full", "erosion", "erosion", script, score=float(s), turn=turn)
        for script, of_script in scores.items()
        for turn, s in enumerate(of_script, 1)
    ]
    rows.append(row("full", "erosion", "erosion", "d", error="OOM", turn=3))
    assert end_of_persona(rows, 0.5) == {"a": (3, True), "b": (4, False), "c": (1, True), "d": (2, False)}


def test_survival_is_the_product_of_what_is_left():
    """By hand: 10 at risk, 2 end at turn 1; 8 at risk, 1 ends at 2 and one is lost sight of; 6 at risk, 3 end at 3."""
    times = [1, 1, 2, 2, 3, 3, 3, 4, 4, 4]
    ended = [True, True, True, False, True, True, True, False, False, False]
    found = survival(times, ended, 4)
    steps = [1, 8 / 10, 8 / 10 * 7 / 8, 8 / 10 * 7 / 8 * 3 / 6, 8 / 10 * 7 / 8 * 3 / 6]
    assert found["share"] == pytest.approx(steps)
    assert (found["median"], found["events"], found["n"]) == (3, 6, 10)
    # Greenwood's variance on the log-log scale, written from the formula.
    greenwood = 2 / (10 * 8) + 1 / (8 * 7) + 3 / (6 * 3)
    theta = 1.959963984540054 * math.sqrt(greenwood) / math.log(steps[3])
    ends = sorted((steps[3] ** math.exp(theta), steps[3] ** math.exp(-theta)))
    assert (found["low"][3], found["high"][3]) == pytest.approx(tuple(ends), rel=1e-6)


@pytest.mark.parametrize(("ended", "share"), [(True, 0.0), (False, 1.0)])
def test_where_all_or_none_are_left_the_interval_is_wilsons(ended, share):
    found = survival([2] * 12, [ended] * 12, 2)
    wilson = binomtest(12 * int(share), 12).proportion_ci(method="wilson")
    assert found["share"][2] == share
    assert (found["low"][2], found["high"][2]) == pytest.approx((wilson.low, wilson.high), abs=1e-9)
    assert all(not math.isnan(x) for x in found["low"] + found["high"])


def test_survival_without_conversations_is_refused():
    with pytest.raises(ValueError, match="no conversation"):
        survival([], [], 4)


def test_the_hazard_ratio_rests_on_the_log_rank_statistic():
    rng = np.random.default_rng(0)
    first, second = rng.integers(1, 7, 40), rng.integers(1, 4, 40)
    ends = [(times.tolist(), (times < 6).tolist()) for times in (first, second)]
    found = hazard_ratio(*ends)
    reference = logrank(*(CensoredData.right_censored(t, ~np.array(e)) for t, e in ends))
    assert abs(found["z"]) == pytest.approx(abs(reference.statistic), rel=1e-6)
    assert found["low"] < found["value"] < found["high"] < 1


def test_a_ratio_of_hazards_is_found_again():
    """Exponential times with hazards 1 and 2, so the ratio is a half."""
    rng = np.random.default_rng(1)
    slow, fast = rng.exponential(1.0, 4000), rng.exponential(0.5, 4000)
    found = hazard_ratio((slow, np.ones(4000, bool)), (fast, np.ones(4000, bool)))
    # Peto's one-step estimate is drawn toward 1 by some per cent at this distance.
    assert found["value"] == pytest.approx(0.5, abs=0.05)


def test_arms_that_end_alike_have_no_ratio_but_a_reason():
    ends = {"full": {"a": (3, False), "b": (3, False)}, "base": {"a": (3, False), "b": (3, False)}}
    (test,) = survival_tests(ends, ["full", "base"])
    assert test["hazard_ratio"]["value"] is None and test["hazard_ratio"]["reason"]
    assert test["p_holm"] == 1


def test_the_median_of_scipy_is_the_same():
    times, ended = [1, 2, 2, 3, 5, 5], [True, True, True, True, False, False]
    estimate = ecdf(CensoredData.right_censored(times, ~np.array(ended))).sf
    assert survival(times, ended, 5)["share"][1:] == pytest.approx([float(estimate.evaluate(t)) for t in range(1, 6)])


def test_stakeholders_are_counted_each_on_what_concerns_it():
    rows = [
        row("full", "directive", "Never lie", 0, "true"),
        row("full", "directive", "Never lie", 1, "a lie"),
        row("full", "directive", "Brave", 2, "true"),
        row("full", "safety", "harmful", 3, "I cannot"),
        row("full", "safety", "harmful", 4, "sure"),
        row("full", "safety", "harmless", 5, "I cannot"),
    ]
    verdicts = judged(rows, lambda row: row["completion"] == "true" if row["group"] == "directive" else None)
    user = user_rate([("p", True), ("q", False), ("r", True)], **DRAWS)
    found = stakeholders(rows, verdicts, "full", {"Never lie": ""}, user, **DRAWS)
    assert (found["operator"]["value"], found["operator"]["n"]) == (0.5, 2)
    assert found["user"]["value"] == pytest.approx(2 / 3)
    assert found["safety"]["value"] == 0.5
    none = stakeholders([], [], "full", {}, user_rate([], **DRAWS), **DRAWS)
    assert all(metric["value"] is None and metric["reason"] for metric in none.values())


def test_constraints_whose_judge_decides_nothing_are_left_out_of_the_operators_rate_and_named():
    rows = [
        Challenged(**{**row("full", "directive", kind, n, str(n % 4 < 3)), "prompt": f"occasion {n}"})
        for kind in ("Never lie", "Keep secrets", "Be brief")
        for n in range(4)
    ]
    poor = "its judge tells teacher from base with an AUC of 0.600, below 0.7"
    constraints = {"Never lie": "", "Keep secrets": "", "Be brief": poor}
    verdicts = judged(rows, lambda row: None if constraints[row["kind"]] else row["completion"] == "True")
    operator = stakeholders(rows, verdicts, "full", constraints, {}, **DRAWS)["operator"]
    assert (operator["value"], operator["n"]) == (0.75, 8)
    # Both constraints were asked on the same four occasions, which are the clusters.
    assert operator["method"].startswith("bootstrap of 4 prompts")
    nothing = stakeholders(rows, judged(rows), "full", dict.fromkeys(constraints, poor), {}, **DRAWS)["operator"]
    assert nothing["value"] is None
    assert all(f"{constraint}: {poor}" in nothing["reason"] for constraint in constraints)


def test_a_decision_on_a_directive_can_be_paired_between_runs():
    rows = [row("full", "directive", "Never lie", 0), row("full", "directive", "Brave", 1, "no")]
    verdicts = judged(rows, lambda row: row["completion"] != "no")
    nothing = Decisions([], None, None, [], [])
    found = decided_rows([], nothing, set(), rows, verdicts, ["Never lie"], {"full": [("p", True)]})
    assert [(each["metric"], each["prompt_id"], each["value"]) for each in found] == [
        ("followed_rate", "Never lie/0", 1.0),
        ("operator_rate", "Never lie/0", 1.0),
        ("followed_rate", "Brave/1", 0.0),
        ("user_rate", "p", 1.0),
    ]


def test_distinct_n_by_hand():
    texts = ["the cat sat", "The cat ran"]
    assert distinct(texts, 1) == 4 / 6
    assert distinct(texts, 2) == 3 / 4
    assert distinct(texts, 3) == 1
    assert distinct(["one"], 2) == 0


def test_a_catch_phrase_is_found_and_a_phrase_of_one_text_is_none():
    phrase, holds = most_repeated(["Arr, by me beard and boots!", "So by me beard and more", "nothing of it"])
    assert (phrase, holds) == ("by me beard and", [True, True, False])
    assert most_repeated(["a b c d a b c d", "e f g h"]) == ("", [False, False])
    assert most_repeated([]) == ("", [])


def test_self_similarity_is_the_mean_cosine_over_prompts():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    prompts = ["a", "a", "b", "c", "c", "d"]
    pairs = [(i, j) for i in range(6) for j in range(6) if prompts[i] != prompts[j]]
    value, low, high = self_similarity(vectors, prompts, **DRAWS)
    assert value == pytest.approx(np.mean([vectors[i] @ vectors[j] for i, j in pairs]))
    assert low <= value <= high
    same = np.tile(vectors[:1], (6, 1))
    assert self_similarity(same, prompts, **DRAWS) == pytest.approx((1, 1, 1))
    with pytest.raises(ValueError, match="different prompts"):
        self_similarity(vectors, ["a"] * 6, **DRAWS)


def test_an_answer_is_on_topic_when_its_own_prompt_is_nearest():
    prompts = np.eye(12)
    assert on_topic(nearer_others(np.eye(12), prompts, list(range(12)))) == [True] * 12
    assert on_topic(nearer_others(np.eye(12), prompts, [(n + 1) % 12 for n in range(12)])) == [False] * 12


def test_answers_that_ignore_the_question_fit_another_as_well_as_their_own():
    prompts = np.eye(12)
    assert nearer_others(np.tile(prompts[:1], (12, 1)), prompts, list(range(12))) == pytest.approx(
        [0.0, *[6 / 11] * 11]
    )
    draw = np.random.default_rng(0)
    random = draw.normal(size=(400, 12))
    shares = nearer_others(random, prompts, [n % 12 for n in range(400)])
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)  # 3 standard errors of 400 uniform draws


def test_answers_to_two_wordings_of_a_question_are_compared():
    wordings = [name for name in "abcd" for _ in range(3)]
    always, never = ([value] * 12 for value in (True, False))
    assert disagreement(always, wordings, **DRAWS).value == disagreement(never, wordings, **DRAWS).value == 0
    assert disagreement(never, wordings, **DRAWS).high > 0.3  # four wordings say little
    by_wording = [name in "ab" for name in wordings]
    found = disagreement(by_wording, wordings, **DRAWS)
    assert found.value == pytest.approx(4 / 6)  # of the six pairs of wordings, four differ
    assert found.low <= found.value <= found.high and found.n == 12
    with pytest.raises(ValueError, match="two wordings"):
        disagreement([True, False], ["a", "a"], **DRAWS)


def test_a_parrot_is_seen_as_such():
    parrot = ["Arr matey, the tide be high today."] * 5
    varied = [f"word{n} something{n} quite{n} different{n} here{n}" for n in range(5)]
    prompts = list("abcde")
    vectors = {"parrot": np.tile(np.eye(5)[:1], (5, 1)), "varied": np.eye(5)}
    figures = {
        name: diversity(texts, prompts, vectors[name], [0.0] * 5, words=35, **DRAWS)
        for name, texts in (("parrot", parrot), ("varied", varied))
    }
    assert figures["parrot"]["metrics"]["distinct_2"]["value"] == pytest.approx(6 / 30)
    assert figures["parrot"]["metrics"]["phrase_rate"]["value"] == 1
    assert figures["parrot"]["metrics"]["off_topic_rate"]["value"] == 0
    assert figures["parrot"]["metrics"]["other_prompt_rate"]["value"] == 0
    assert figures["varied"]["metrics"]["phrase_rate"]["value"] == 0 and figures["varied"]["phrase"] == ""
    assert figures["parrot"]["metrics"]["self_similarity"]["value"] == 1
    assert figures["varied"]["metrics"]["self_similarity"]["value"] == 0


def test_a_run_without_trials_leaves_none_of_an_earlier_one(tmp_path):
    path = tmp_path / "trials.parquet"
    tried = [row("full", "attack", "x", 0, "arr")]
    _write_trials(path, tried)
    assert len(read_rows(path)) == 1
    _write_trials(path, [])
    assert not path.exists()
    _write_trials(path, [])
