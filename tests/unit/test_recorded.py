"""What measures a finished run reads the constitution that the run was made with, or says that the file was edited."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from character_ray.config import Recipe, Tournament
from character_ray.constitution import load_constitution
from character_ray.errors import ConstitutionError, ReportError
from character_ray.inspect_export import export_logs
from character_ray.pipeline.contestants import load_lineup, recipe_of
from character_ray.pipeline.finished import FinishedRun
from character_ray.pipeline.judge_audit import audit_judge
from character_ray.runs import write_json
from tests.finished_run import ROOT, write_run

CAPTAIN = ROOT / "constitutions" / "captain-blackwood.yaml"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of a constitution in a file of its own."""
    folder, own = write_run(tmp_path / "demo"), tmp_path / "captain.yaml"
    own.write_text(CAPTAIN.read_text(encoding="utf-8"), encoding="utf-8")
    recipe = Recipe(name="demo", constitution=own, output=tmp_path)
    write_json(folder / "run.json", {"recipe": recipe.model_dump(mode="json"), "stages": {}})
    write_json(folder / "report.json", {"constitution": {"hash": load_constitution(own).fingerprint}})
    return folder


def edit(run: Path) -> None:
    own = run.parent / "captain.yaml"
    own.write_text(own.read_text(encoding="utf-8").replace("Captain", "Admiral"), encoding="utf-8")


def tournament(run: Path) -> Tournament:
    return Tournament.model_validate(
        {
            "name": "cup",
            "output": run.parent,
            "contestants": [{"run": run, "arms": ["base", "full"]}],
            "judges": [{"name": "j", "kind": "likelihood"}],
        }
    )


@pytest.mark.parametrize(
    "read",
    [
        lambda run: FinishedRun.open(run).persona,
        lambda run: audit_judge(run, recipe_of(run), None),
        lambda run: load_lineup(tournament(run)),
        lambda run: export_logs(run, run.parent / "logs"),
    ],
    ids=["probe, drift, tax, preferences, classify and update", "audit", "tournament", "export"],
)
def test_an_edited_constitution_is_refused_with_both_hashes_and_files(run: Path, read: Callable[[Path], object]):
    edit(run)
    then, now = load_constitution(CAPTAIN).fingerprint, load_constitution(run.parent / "captain.yaml").fingerprint
    with pytest.raises(
        ConstitutionError, match=rf"captain\.yaml was edited.* {now} now.*report\.json .*{then}.*Restore"
    ):
        read(run)
    assert not (run.parent / "logs").exists()


def test_a_constitution_that_says_the_same_is_read(run: Path):
    own = run.parent / "captain.yaml"
    own.write_text("# a comment\n" + own.read_text(encoding="utf-8"), encoding="utf-8")
    assert FinishedRun.open(run).persona.constitution.meta.name == "Captain Blackwood"
    assert load_lineup(tournament(run)).constitution.meta.name == "Captain Blackwood"


def test_before_there_is_a_report_the_teachers_completions_say_what_they_were_made_with(run: Path):
    (run / "report.json").unlink()
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    record["stages"] = {"teacher": {"artefact": "teacher-1", "inputs": {"constitution": "0" * 16}}}
    write_json(run / "run.json", record)
    with pytest.raises(ConstitutionError, match=r"run\.json was made with 0000"):
        load_lineup(tournament(run))


def test_a_damaged_report_is_named(run: Path):
    (run / "report.json").write_text("{", encoding="utf-8")
    with pytest.raises(ReportError, match=r"report\.json is not readable JSON"):
        load_lineup(tournament(run))
