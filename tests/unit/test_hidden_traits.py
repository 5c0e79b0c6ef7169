"""The character where nobody asks for it: a rate by each of two deciders, of the probes and of every directive, and their agreement."""

import math

import numpy as np
import pytest

from character_ray.evaluation.agreement import agreement
from character_ray.evaluation.hidden_traits import hidden_traits, occasions, split_classified
from character_ray.evaluation.measures import Decisions
from character_ray.evaluation.trials import judge_trials
from character_ray.report.schema import HiddenTraits
from character_ray.statistics import cluster_rate

DRAWS = {"seed": 0, "resamples": 200}
ARMS = ["base", "full"]
THRESHOLD = 0.5
LOYAL, NEVER = "Loyal to your crew", "Never break character"


def probe(arm, prompt, sample, score, error=""):
    return {
        "row_id": f"{arm}-{prompt}-{sample}",
        "arm": arm,
        "prompt_id": prompt,
        "source": "probe",
        "hint": "",
        "sample": sample,
        "prompt": prompt,
        "completion": "Arr.",
        "error": error,
        "score": score,
    }


def occasion(arm, directive, number, score, group="directive", error=""):
    return {
        "row_id": f"{arm}/{directive}/{number}",
        "arm": arm,
        "group": group,
        "kind": directive,
        "challenge_id": f"c{number}",
        "wording": f"w{number}",
        "turn": 0,
        "prompt": f"Occasion {number}?",
        "system": "",
        "begun": "",
        "canary": "",
        "completion": "Arr.",
        "error": error,
        "score": score,
    }


@pytest.fixture
def answers():
    plain = probe("full", "held-out", 0, 1.0) | {"source": "grid"}
    return [plain, *(probe(arm, f"p{n}", s, float(arm == "full")) for arm in ARMS for n in range(4) for s in range(2))]


@pytest.fixture
def tried():
    rows = [occasion(arm, LOYAL, n, float(arm == "full")) for arm in ARMS for n in range(8)]
    rows += [occasion(arm, NEVER, n, float(arm == "full" and n < 2)) for arm in ARMS for n in range(8)]
    return [*rows, occasion("full", "prefill", 0, 1.0, group="attack"), occasion("full", NEVER, 9, 1.0, error="lost")]


def decided(answers, tried, probability):
    """All of it from the probabilities of answers and occasions, as a run does it."""
    own, classified = split_classified(probability, len(answers), tried)
    named = [False] * len(answers)
    decisions = Decisions(
        judge=[row["score"] > THRESHOLD for row in answers],
        vocabulary=None,
        classifier=None if own is None else [bool(p > 0.5) for p in own],
        named=named,
        looping=named,
    )
    verdicts = judge_trials(
        tried,
        THRESHOLD,
        uses_vocabulary=None,
        looks_refused=lambda text: False,
        names_itself=lambda text: False,
        leaves_role=lambda text: False,
        classified=classified,
    )
    found = hidden_traits(answers, decisions, tried, verdicts, ARMS, **DRAWS)
    return {each.kind: each for each in map(HiddenTraits.model_validate, found)}, verdicts


def probabilities(answers, tried):
    """A classifier that says what the judge says, except of the first occasion of each directive to ``full``."""
    scores = [row["score"] for row in answers]
    scores += [1 - row["score"] if row["row_id"].endswith("/0") else row["score"] for row in occasions(tried)]
    return np.array(scores)


def test_probes_and_every_directive_have_a_rate_by_each_decider(answers, tried):
    found, _ = decided(answers, tried, probabilities(answers, tried))
    assert [(each.group, kind) for kind, each in found.items()] == [
        ("all", "probes"),
        ("all", "directives"),
        ("directive", LOYAL),
        ("directive", NEVER),
    ]
    full = {kind: each.arms["full"] for kind, each in found.items()}
    assert full["probes"]["hidden_trait_rate"].value == 1
    assert full["probes"]["hidden_trait_rate"].n == 8  # neither the held-out prompt nor another arm's
    assert full[LOYAL]["hidden_trait_rate"].value == 1
    assert full[LOYAL]["hidden_trait_classifier_rate"].value == pytest.approx(7 / 8)
    assert full[NEVER]["hidden_trait_rate"].value == pytest.approx(2 / 8)
    assert full[NEVER]["hidden_trait_rate"].n == 8  # a failed answer is left out
    assert full["directives"]["hidden_trait_rate"].value == pytest.approx(10 / 16)
    assert found[LOYAL].arms["base"]["hidden_trait_rate"].value == 0


def test_one_answer_per_occasion_has_wilsons_interval(answers, tried):
    found, _ = decided(answers, tried, None)
    metric = found[NEVER].arms["full"]["hidden_trait_rate"]
    wilson = cluster_rate([1.0, 1.0, *[0.0] * 6], [str(n) for n in range(8)], seed=0)
    assert (metric.low, metric.high) == (wilson.low, wilson.high)
    assert metric.method.startswith("Wilson")


def test_agreement_is_over_all_arms_and_counts_who_stood_alone(answers, tried):
    found, _ = decided(answers, tried, probabilities(answers, tried))
    assert found["probes"].agreement.agreement.value == found["probes"].agreement.kappa.value == 1
    loyal = found[LOYAL].agreement
    # Of sixteen answers base's first is the classifier's alone and full's first the judge's alone.
    assert (loyal.n, loyal.only_first, loyal.only_second) == (16, 1, 1)
    assert loyal.agreement.value == pytest.approx(14 / 16)
    assert loyal.kappa.value == pytest.approx((14 / 16 - 0.5) / 0.5)
    assert loyal.kappa.low < loyal.kappa.value < loyal.kappa.high


def test_without_a_classifier_the_judge_stands_alone_and_the_report_says_why(answers, tried):
    found, verdicts = decided(answers, tried, None)
    for each in found.values():
        assert each.agreement is None
        assert each.arms["full"]["hidden_trait_classifier_rate"].reason == "the classifier could not be trained"
        assert each.arms["full"]["hidden_trait_rate"].value is not None
    assert all(verdict is None or verdict.classifier is None for verdict in verdicts)


def test_an_arm_that_was_not_asked_has_no_rate(answers, tried):
    found, _ = decided([row for row in answers if row["arm"] == "full"], tried, None)
    assert found["probes"].arms["base"]["hidden_trait_rate"].reason == "no answer of this kind was made"


def test_a_run_without_challenges_still_has_its_probes(answers):
    found, _ = decided(answers, [], np.array([row["score"] for row in answers]))
    assert list(found) == ["probes"]


def test_a_reader_can_search_for_where_the_two_part(answers, tried):
    _, verdicts = decided(answers, tried, probabilities(answers, tried))
    parted = [
        row["row_id"]
        for row, each in zip(tried, verdicts, strict=True)
        if each and "classifier disagrees" in each.labels
    ]
    assert parted == [f"{arm}/{directive}/0" for directive in (LOYAL, NEVER) for arm in ARMS]


@pytest.mark.parametrize(
    ("first", "second", "kappa"),
    [([1, 0, 1, 1], [1, 0, 0, 1], 0.5), ([1, 1, 1], [1, 0, 1], 0.0), ([1, 1], [1, 1], None), ([1, 0], [0, 1], -1.0)],
)
@pytest.mark.filterwarnings("error")
def test_kappa_is_cohens_and_undefined_where_chance_explains_all(first, second, kappa):
    decisions = np.array(first, dtype=bool), np.array(second, dtype=bool)
    found = agreement("a", "b", *decisions, [str(n) for n in range(len(first))], **DRAWS)
    assert (found["kappa"] and found["kappa"]["value"]) == (None if kappa is None else pytest.approx(kappa))
    assert not math.isnan(found["agreement"]["value"])
