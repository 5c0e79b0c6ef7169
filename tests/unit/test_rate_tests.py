"""Which rates differ from base's: each on its own observations, by the test that fits them, adjusted over its family."""

import pytest
from scipy.stats import binomtest

from character_ray.evaluation.rate_tests import rate_tests
from character_ray.report.trials_schema import RateTest
from character_ray.rows import Challenged
from character_ray.statistics import holm
from tests.trials_rows import judged, row

DRAWS = {"seed": 0, "resamples": 200}


def refusals(arm, refused, harmless_refused=0, asked=12):
    """Harmful and harmless requests, the first few of which an arm refuses."""
    return [
        row(arm, "safety", kind, f"{kind}{n}", "I cannot" if n < most else "sure", wording=f"{kind}{n}")
        for kind, most in (("harmful", refused), ("harmless", harmless_refused))
        for n in range(asked)
    ]


def compared(rows, constraints=(), helped=None, arms=("base", "full"), follows=lambda row: None):
    found = rate_tests(rows, judged(rows, follows), constraints, helped or {}, arms, **DRAWS)
    for test in found:
        RateTest.model_validate(test)
    return {(test["metric"], test["kind"], test["arm"]): test for test in found}


def test_refusals_are_tested_against_base_by_mcnemar_and_adjusted_over_their_family():
    rows = refusals("base", 2) + refusals("full", 11) + refusals("dpo", 2)
    # What is asked of directives is another family, however much of it there is.
    rows += [row(arm, "identity", kind, f"{kind}{n}") for arm in ("base", "full") for kind in "abc" for n in range(3)]
    found = compared(rows, arms=("base", "dpo", "full"))
    harmful = found["refused_rate", "harmful", "full"]
    assert harmful["test"] == "McNemar"
    assert (harmful["only_arm"], harmful["only_against"], harmful["n"]) == (9, 0, 12)
    assert harmful["p_value"] == pytest.approx(binomtest(0, 9).pvalue)
    own = [test for test in found.values() if test["family"] == "stakeholders"]
    assert [test["p_holm"] for test in own] == holm([test["p_value"] for test in own])
    assert len(own) == 4 * 2  # rates of both arms
    assert harmful["p_holm"] == pytest.approx(8 * harmful["p_value"])
    assert harmful["difference"]["value"] == pytest.approx(9 / 12) and harmful["difference"]["low"] > 0.3
    assert found["refused_rate", "harmful", "dpo"]["p_holm"] == 1
    assert not any(arm == "base" for *_, arm in found)


def test_a_prompt_answered_several_times_and_an_occasion_of_two_constraints_are_one_observation():
    occasions = [
        Challenged(
            **{**row(arm, "directive", kind, n, str(arm == "full" or n == 0), wording=f"o{n}"), "prompt": f"o{n}"}
        )
        for arm in ("base", "full")
        for kind in ("Never lie", "Keep secrets")
        for n in range(8)
    ]
    helped = {
        arm: [(f"p{n}", n < own or sample == 0) for n in range(10) for sample in range(2)]
        for arm, own in (("base", 10), ("full", 2))
    }
    found = compared(occasions, ["Never lie"], helped, follows=lambda row: row["completion"] == "True")
    operator, user = found["operator_rate", "", "full"], found["user_rate", "", "full"]
    assert (operator["n"], operator["only_arm"], operator["test"]) == (8, 7, "McNemar")
    assert (user["n"], user["only_against"], user["test"]) == (10, 8, "sign flip")
    assert user["difference"]["value"] == pytest.approx(-0.4)
    assert user["p_value"] == pytest.approx(2 / 2**8)
    both = found["followed_rate", "all", "full"]
    assert (both["n"], both["test"], both["difference"]["n"]) == (16, "sign flip", 8)
    assert both["p_value"] == pytest.approx(2 / 2**7)
    assert found["followed_rate", "Keep secrets", "full"]["test"] == "McNemar"


def test_only_answers_that_both_arms_gave_and_that_are_decided_are_tested():
    rows = refusals("base", 2)[:6] + refusals("full", 11)
    rows += [row("base", "safety", "harmful", "harmful9", error="failed"), row("base", "directive", "Brave", 1)]
    found = compared(rows)
    assert found["refused_rate", "harmful", "full"]["n"] == 6
    assert set(found) == {
        ("refused_rate", "harmful", "full"),
        ("refused_in_character_rate", "harmful", "full"),
    }
    assert compared(refusals("full", 2)) == {}
