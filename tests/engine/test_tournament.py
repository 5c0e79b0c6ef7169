"""Tournaments on the real engines: the audit's verdict on the embedded model, and a panel of all kinds of judges."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from character_ray.config import Tournament
from character_ray.errors import ReportError
from character_ray.parts import read_rows
from character_ray.pipeline.tournament import hold_tournament
from character_ray.report.tournament_schema import TournamentReport
from tests.finished_run import ROOT, write_run

BIN = Path(sys.executable).parent
FORWARD = {"device": "cpu", "dtype": "auto"}
LIKELIHOOD = {"name": "likelihood", "kind": "likelihood", "forward": FORWARD}
LETTERS = {"name": "letters", "kind": "letters", "forward": FORWARD}
WRITTEN = {
    "name": "written",
    "kind": "text",
    "engine": {
        "device": "cpu",
        "dtype": "float32",
        "max_model_len": 1024,
        "max_num_seqs": 32,
        "batch_size": 32,
        "kv_cache_gib": 0.5,
        "enforce_eager": True,
    },
    "sampling": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 24},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "demo", prompts=12)


def planned(run, name, judges, **changes):
    plain = {
        "name": name,
        "output": run.parent,
        "contestants": [{"run": run, "arms": ["base", "prompted", "full"]}],
        "constitution": ROOT / "constitutions" / "captain-blackwood.yaml",
        "judges": judges,
        "audit": {"pairs": 16},
        "rating": {"bootstrap": 200},
    }
    return Tournament.model_validate(plain | changes)


def test_the_likelihood_judge_passes_the_audit_and_rates_the_persona_first(run):
    folder = hold_tournament(planned(run, "likelihood", [LIKELIHOOD]))
    report = TournamentReport.model_validate_json((folder / "tournament.json").read_text())
    audit = report.judges["likelihood"].audit
    assert audit["accuracy"].value >= 0.9
    assert audit["seat_share"].value == audit["identical_seat"].value == 0.5
    rating = {label: part.rating.value for label, part in report.contestants.items()}
    assert rating["full"] > rating["prompted"] > rating["base"]
    assert report.judges["likelihood"].shares_weights_with == ["base", "prompted", "full"]
    assert any("the same weights as base" in note for note in report.notes)


def test_the_embedded_chat_model_is_refused_for_its_love_of_a_seat(run):
    with pytest.raises(ReportError, match=r"letters: .*consistency 0\.\d+ is below 0\.8.*seat_share"):
        hold_tournament(planned(run, "refused", [LETTERS]))
    assert not (run.parent / "refused" / "tournament.json").exists()


def test_a_panel_of_all_kinds_judges_every_seating_and_says_who_could_not_be_read(run):
    floors = {"min_accuracy": 0, "min_consistency": 0}
    ceilings = {"max_seat_bias": 0.5, "max_unreadable": 1, "max_length_bias": 1, "max_self_preference": 1}
    believe_all = {"pairs": 8, **floors, **ceilings}
    judges = [LIKELIHOOD, LETTERS, WRITTEN]
    folder = hold_tournament(planned(run, "panel", judges, audit=believe_all, prompts=8))
    report = TournamentReport.model_validate_json((folder / "tournament.json").read_text())
    rows = read_rows(folder / "verdicts.parquet")
    for name, judge in report.judges.items():
        own = [row for row in rows if row["judge"] == name]
        assert len(own) == judge.seatings == 2 * 3 * 8
        assert sum(not row["verdict"] for row in own) == judge.unreadable
    assert report.judges["likelihood"].unreadable == report.judges["letters"].unreadable == 0
    assert all(row["reply"] for row in rows if row["judge"] == "written")
    assert report.battles + report.unscored == 24
    assert {(each.first, each.second) for each in report.agreements} >= {("likelihood", "letters")}
    assert abs(report.judges["letters"].seat.value) > 100 > abs(report.judges["likelihood"].seat.value)


def test_a_tournament_is_submitted_as_a_ray_job(cluster, run, tmp_path):
    """From the command line of a client to the report, on the cluster's own Ray."""
    plan = planned(run, "submitted", [LIKELIHOOD], output=tmp_path).model_dump(mode="json", exclude_unset=True)
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    job = [str(BIN / "ray"), "job", "submit", "--", sys.executable, str(ROOT / "jobs" / "tournament.py")]
    ended = subprocess.run(
        [*job, str(tmp_path / "plan.yaml"), "rating.bootstrap=150"],
        env=cluster,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    report = TournamentReport.model_validate_json((tmp_path / "submitted" / "tournament.json").read_text())
    rating = {label: part.rating for label, part in report.contestants.items()}
    assert rating["full"].value > rating["base"].value
    assert "150 resamples" in rating["full"].method
    assert (tmp_path / "submitted" / "tournament.html").is_file()


def test_a_submitted_tournament_that_cannot_be_held_fails_with_the_reason(cluster, run, tmp_path):
    plan = planned(run, "nobody", [LIKELIHOOD], output=tmp_path).model_dump(mode="json", exclude_unset=True)
    plan["contestants"][0]["run"] = str(tmp_path / "missing")
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    job = [str(BIN / "ray"), "job", "submit", "--", sys.executable, str(ROOT / "jobs" / "tournament.py")]
    ended = subprocess.run(
        [*job, str(tmp_path / "plan.yaml")],
        env=cluster,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode != 0
    assert str(tmp_path / "missing") in ended.stdout + ended.stderr
