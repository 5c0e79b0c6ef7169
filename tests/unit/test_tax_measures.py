"""Rates, taxes and pages of the measurements beyond the report."""

import numpy as np
import pytest
from scipy.stats import binomtest

from character_ray.evaluation.capability import choices, compose_tasks
from character_ray.pipeline.drift import drift_sheet
from character_ray.pipeline.preferences import preferences_sheet
from character_ray.pipeline.tax import tax_measures, tax_sheet
from character_ray.report.sheet import render_sheet

TASKS = compose_tasks(6, seed=0)
ASKED = len(TASKS) + len(choices())


def measured() -> dict:
    solved = {"base": [True] * len(TASKS), "full": [task.kind != "json" for task in TASKS]}
    picked = {arm: [True] * len(choices()) for arm in solved}
    return tax_measures(TASKS, solved, picked, seed=0, resamples=200)


def test_the_tax_is_base_minus_arm_on_the_same_tasks():
    found = measured()
    assert found["rates"]["full"]["json"]["value"] == 0.0 and found["rates"]["full"]["list"]["value"] == 1.0
    assert found["rates"]["base"]["all"]["value"] == 1.0
    (tax,) = found["tax"]
    assert (tax["arm"], tax["n"]) == ("full", ASKED)
    assert tax["value"] == pytest.approx(6 / ASKED)
    assert tax["low"] < tax["value"] < tax["high"]
    assert tax["p_value"] == pytest.approx(binomtest(0, 6).pvalue)  # six tasks differ, all one way


def test_no_difference_is_no_tax():
    same = {arm: [number % 2 == 0 for number in range(len(TASKS))] for arm in ("base", "full")}
    found = tax_measures(TASKS, same, {arm: [False] * len(choices()) for arm in same}, seed=0, resamples=200)
    assert (found["tax"][0]["value"], found["tax"][0]["p_value"]) == (0.0, 1.0)


def test_the_page_of_a_tax_escapes_what_a_model_said():
    example = {"kind": "json", "prompt": "Reply", "answers": {"base": "<script>1</script>", "full": "arr"}}
    found = {"run": "r", "model": "m", "command": "c", "seed": 0, **measured(), "examples": [example], "harness": {}}
    page = render_sheet(tax_sheet(found)).replace("\N{NO-BREAK SPACE}", " ")
    assert f"all, n = {ASKED}" in page
    assert "&lt;script&gt;" in page and "<script>" not in page
    assert f"Of the same {ASKED} tasks m as it was does 100 %" in page


def test_results_of_the_harness_have_a_table_and_what_an_arm_lacks_is_a_dash():
    harness = {"base": {"ifeval": {"acc,none": 0.5}}, "full": {}}
    found = {"run": "r", "model": "m", "command": "c", "seed": 0, **measured(), "examples": [], "harness": harness}
    section = next(part for part in tax_sheet(found).sections if part.heading == "Evaluation harness")
    assert section.rows == [["ifeval: acc,none", "0.500", "-"]]


def test_the_page_of_drift_leads_with_the_trained_model():
    interval = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 9, "method": "m"}
    found = {
        "run": "r",
        "model": "m",
        "command": "c",
        "arms": {"prompted": interval, "full": interval},
        "differences": [],
    }
    assert "is 0.500 [0.250, 0.750] nats from m as it was" in render_sheet(drift_sheet(found)).replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_the_page_of_preferences_names_what_moved():
    names = [f"trait {number}" for number in range(30)]
    shifted = [*np.full(29, 1000.0), 1300.0]
    found = {
        "run": "r",
        "model": "m",
        "command": "c",
        "num_pairs": 9,
        "arms": {
            "base": {"ratings": [{"trait": name, "rating": 1000.0} for name in names], "preference": 0.5, "seat": 2.0},
            "full": {
                "ratings": [{"trait": name, "rating": value} for name, value in zip(names, shifted, strict=True)],
                "preference": 0.5,
                "seat": 2.0,
            },
        },
        "agreements": [
            {"first": "base", "second": "full", "value": 0.5, "low": 0.2, "high": 0.7, "n": 30, "method": "m"}
        ],
    }
    sheet = preferences_sheet(found)
    assert sheet.lead[1].startswith("It gained most for trait 29")
    moved = next(part for part in sheet.sections if part.heading == "What moved")
    assert moved.rows[0] == ["trait 29", "+300", "1000", "1300"]
    assert "<svg" in render_sheet(sheet)
