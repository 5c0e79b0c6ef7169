"""``report.json``: what may be written, what is refused, and the schema that travels with the package."""

import json
from pathlib import Path

import jsonschema
import pytest

import character_ray.report
from character_ray.errors import ReportError
from character_ray.report.io import load_report, report_json_schema, write_report
from character_ray.report.page import render_report
from character_ray.report.schema import Metric
from tests.report_fixture import captain_report

SCHEMA = Path(character_ray.report.__file__).with_name("report.schema.json")
REGENERATE = (
    "python -c 'import json; from character_ray.report.io import report_json_schema as schema; "
    "print(json.dumps(schema(), indent=1))' "
    "> character_ray/report/report.schema.json"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the report of a test lies."""
    return tmp_path / "report.json"


def test_a_report_survives_the_disk(path: Path) -> None:
    write_report(captain_report(), path)
    assert load_report(path) == captain_report()
    assert [file.name for file in path.parent.iterdir()] == ["report.json"]


def test_the_shipped_schema_is_current() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == report_json_schema(), (
        f"out of date; regenerate it:\n{REGENERATE}"
    )


def test_a_written_report_follows_the_shipped_schema(path: Path) -> None:
    write_report(captain_report(), path)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    data = json.loads(path.read_text(encoding="utf-8"))
    assert list(validator.iter_errors(data)) == []
    del data["judge"]
    assert [error.message for error in validator.iter_errors(data)] == ["'judge' is a required property"]


def test_a_metric_without_value_and_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        Metric(value=None)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_by_name_and_nothing_is_written(path: Path, bad: float) -> None:
    report = captain_report()
    report.training["dpo"][3]["loss"] = bad
    with pytest.raises(ReportError, match=r"training\.dpo\.3\.loss"):
        write_report(report, path)
    assert list(path.parent.iterdir()) == []


def test_a_score_that_is_not_a_number_is_written_as_null(path: Path) -> None:
    report = captain_report()
    report.samples[0].scores["full"] = float("nan")
    write_report(report, path)
    assert load_report(path).samples[0].scores["full"] is None


def test_a_refused_report_leaves_the_old_one(path: Path) -> None:
    write_report(captain_report(), path)
    old = path.read_bytes()
    report = captain_report()
    report.run.wall_s = float("nan")
    with pytest.raises(ReportError):
        write_report(report, path)
    assert path.read_bytes() == old


def test_a_missing_report_names_the_path(path: Path) -> None:
    with pytest.raises(ReportError, match=r"report\.json: no such file"):
        load_report(path)


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 1, "num_prompts": NaN}', "\N{SNOWMAN}"])
def test_what_is_not_json_is_refused(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ReportError, match="cannot be read as JSON"):
        load_report(path)


@pytest.mark.parametrize("text", ["[]", "{}", "3"])
def test_json_that_is_no_report_is_refused(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ReportError, match="not a report"):
        load_report(path)


def test_another_schema_version_is_named(path: Path) -> None:
    path.write_text(
        captain_report().model_dump_json().replace('"schema_version":1', '"schema_version":2'), encoding="utf-8"
    )
    with pytest.raises(ReportError, match=r"schema_version is 2, but this version of character-ray reads 1"):
        load_report(path)


def test_broken_fields_are_named(path: Path) -> None:
    data = captain_report().model_dump(mode="json")
    data["arms"]["full"]["persona_rate"] = {"value": None}
    del data["judge"]["auc"]
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ReportError) as failure:
        load_report(path)
    assert "arms.full.persona_rate" in str(failure.value)
    assert "judge.auc: Field required" in str(failure.value)


def test_a_report_of_before_ties_were_modelled_is_read_and_shown(path: Path) -> None:
    data = json.loads(captain_report().model_dump_json())
    del data["tie_share"]
    path.write_text(json.dumps(data), encoding="utf-8")
    older = load_report(path)
    assert older.tie_share is None
    assert "count a tie as half" in render_report(older)
    assert "would end in one" in render_report(captain_report())


def test_a_report_of_before_all_figures_had_intervals_is_read_and_shown(path: Path) -> None:
    data = json.loads(captain_report().model_dump_json())
    data["win_rates"] = {
        arm: {other: own["value"] for other, own in row.items()} for arm, row in data["win_rates"].items()
    }
    data["elo_sequential"] = {arm: own["value"] for arm, own in data["elo_sequential"].items()}
    for name in ("auc", "true_positive_rate", "false_positive_rate"):
        data["judge"][name] = data["judge"][name]["value"]
    data["agreements"][0] |= {"agreement": 0.933, "kappa": 0.86}
    path.write_text(json.dumps(data), encoding="utf-8")
    older = load_report(path)
    assert older.elo_sequential["base"] == Metric(value=671)
    page = render_report(older)
    assert ">671</span> <small></small>" in page
    assert "671</span> <small>[631,\N{NO-BREAK SPACE}709]</small>" in render_report(captain_report())


def test_a_report_of_before_tests_kept_wordings_together_is_read_and_shown(path: Path) -> None:
    data = json.loads(captain_report().model_dump_json())
    for test in data["trials"]["tests"]:
        del test["wordings"]
    path.write_text(json.dumps(data), encoding="utf-8")
    older = load_report(path)
    assert older.trials is not None and older.trials.tests[0].wordings is None
    assert "p: McNemar" in render_report(older)
    assert "p: McNemar" not in render_report(captain_report())
