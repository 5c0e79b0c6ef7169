"""The table of the benchmarks is what their records say."""

import json
from pathlib import Path

import pytest

from benchmarks.bounds import BOUNDS, bound_of
from benchmarks.table import README, RESULTS, fill, table


def test_the_table_is_up_to_date():
    text = README.read_text(encoding="utf-8")
    assert text == fill(text, table(RESULTS)), "benchmarks/README.md is stale: run python -m benchmarks.table"


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: f"{bound.ratio} {dict(bound.when)}")
def test_a_goal_is_harder_than_its_bound(bound):
    assert bound.standing(bound.goal) == "goal"
    assert bound.standing(bound.passes) == "passes"
    worse = -1 if bound.direction == "at least" else 1
    assert bound.standing(bound.passes + worse * 0.01) == "misses"


def test_more_than_can_be_true_is_no_goal_reached():
    r1 = bound_of("R1", {})
    assert r1.standing(1.01) == "goal"
    assert r1.standing(1.52) == "beyond"


def test_bounds_that_depend_on_a_setting_are_found_by_it():
    assert bound_of("R5_base", {"rank": 256}).passes == 0.60
    assert bound_of("R5_base", {"rank": 64}) is None
    assert bound_of("R1", {}).goal == 0.99


def test_a_record_shows_with_its_arms_machine_and_command(tmp_path: Path):
    record = {
        "ratios": {"R7": 2.5, "R7_other": 1.0},
        "arms": {"apart": {"median": 1250.0, "repeats": [1250.0]}, "ours": {"median": 500.0, "repeats": [500.0]}},
        "settings": {},
        "versions": {"ray": "2"},
        "hardware": {"cpu_cores": 16, "gpus": ["H100"]},
        "command": "python -m benchmarks.bench_pipeline",
    }
    (tmp_path / "pipeline-gpu.json").write_text(json.dumps(record))
    shown = table(tmp_path)
    assert "| R7 | 2.5 | ≥ 2 | ≥ 3 | passes | apart 1,250; ours 500 |" in shown
    assert "| R7_other | 1 | - | - | - | as above |" in shown
    assert "1 x H100, 16 CPU cores | ray 2 | not recorded | `python -m benchmarks.bench_pipeline` |" in shown
