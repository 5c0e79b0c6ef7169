"""What counts as a contradiction: statements, their pairs, and the share of texts that hold one."""

import pytest

from character_ray.config import CoherenceConfig
from character_ray.evaluation.coherence import Said, contradiction_rate, statement_pairs, statements
from character_ray.prompts.files import read_data
from character_ray.report.lookup import all_metrics
from character_ray.report.page import render_report
from tests.report_fixture import captain_report

DRAWS = {"seed": 0, "resamples": 200}


def test_statements_are_sentences_and_items_but_no_questions_and_nothing_twice():
    text = (
        "Arr! I sail the seas. Do you sail, too?\n\n1. Pack a warm coat.\n- Pack a warm coat.\n2. Bring some water, "
        '"and bread too." That is all you need.'
    )
    assert statements(text, 8) == (
        "I sail the seas.",
        "Pack a warm coat.",
        'Bring some water, "and bread too.',
        "That is all you need.",
    )
    assert statements(text, 2) == ("I sail the seas.", "Pack a warm coat.")
    assert statements("", 8) == statements("Who are you?", 8) == ()


def test_every_statement_meets_every_later_one():
    said = Said("a", "full", "p", ("one", "two", "three"))
    assert statement_pairs(said) == {"a/0-1": ("one", "two"), "a/0-2": ("one", "three"), "a/1-2": ("two", "three")}


def test_one_contradiction_makes_a_text_contradictory_and_a_text_of_one_statement_is_left_out():
    said = [Said("a", "full", "p", ("1", "2", "3")), Said("b", "full", "q", ("1", "2")), Said("c", "full", "r", ("1",))]
    probabilities = {"a/0-1": 0.1, "a/0-2": 0.9, "a/1-2": 0.1, "b/0-1": 0.5}
    rate = contradiction_rate(said, probabilities, 0.6, **DRAWS)
    assert (rate["value"], rate["n"]) == (0.5, 2)
    assert contradiction_rate(said, probabilities, 0.4, **DRAWS)["value"] == 1
    assert contradiction_rate(said[2:], probabilities, 0.6, **DRAWS) == {
        "value": None,
        "reason": "no answer made two statements",
    }


def test_known_pairs_are_as_many_of_both_kinds_and_differ():
    known = read_data("coherence.yaml")
    assert len(known["contradicting"]) == len(known["agreeing"]) >= 16
    pairs = [tuple(pair) for side in known.values() for pair in side]
    assert all(len(pair) == 2 for pair in pairs) and len(set(pairs)) == len(pairs)


def test_a_model_is_named_in_one_word_or_with_its_revision():
    assert CoherenceConfig(nli="a/b").nli == CoherenceConfig(nli={"name": "a/b"}).nli
    assert CoherenceConfig().nli is None


def test_the_page_and_a_bound_see_contradictions_and_the_page_says_why_there_are_none():
    report = captain_report()
    page = render_report(report)
    assert "Contradicts earlier turns" in page and "On 32 known pairs it finds 94" in page
    assert all_metrics(report, "full")["contradiction_rate"].value == pytest.approx(0.25)
    assert report.coherence is not None
    report.coherence.reason = "no model is named"
    assert "Not measured: no model is named." in render_report(report)
    report.coherence = None
    assert "Contradictions</h3>" not in render_report(report)
