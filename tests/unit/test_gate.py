"""Bounds on a report: what is let through, what is not, and what is no bound."""

import json

import pytest
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.comparison import check_bounds, parse_bound
from character_ray.errors import ReportError
from character_ray.report.io import write_report
from tests.report_fixture import captain_report


@pytest.mark.parametrize(
    ("text", "side", "kept"),
    [
        ("full.persona_rate.low=0.6", "min", True),
        ("full.persona_rate.low=0.9", "min", False),
        ("full.looping_rate.value=0.3", "max", True),
        ("full.looping_rate.value=0.1", "max", False),
        ("full-base.persona_rate.low=0.5", "min", True),
        ("full-dpo.persona_rate.low=0", "min", False),
        ("full.rating.value=1183", "min", True),
        ("full.operator_rate.low=0.5", "min", True),
        ("full.operator_rate.low=0.9", "min", False),
        ("dpo.safety_rate.low=0", "min", False),
        ("full.followed_rate[Never break character].low=0.1", "min", True),
        ("full.persona_rate[prefill].value=0.95", "min", False),
    ],
)
def test_a_bound_is_kept_or_broken(text, side, kept):
    (verdict,) = check_bounds(captain_report(), [parse_bound(text, side)])
    assert verdict.kept is kept


def test_what_could_not_be_measured_keeps_no_bound():
    for side in ("min", "max"):
        (verdict,) = check_bounds(captain_report(), [parse_bound("prompted.identity_rate.value=0", side)])
        assert not verdict.kept
        assert verdict.found.startswith("not measured: ")


@pytest.mark.parametrize(
    "text",
    [
        "full-base.followed_rate[x].low=0",
        "full.persona_rate=0.6",
        "persona_rate.low=0.6",
        "full.persona_rate.middle=1",
        "full.persona_rate.low=x",
    ],
)
def test_what_is_no_bound_is_refused_with_an_example(text):
    with pytest.raises(ReportError, match=r"full\.persona_rate\.low=0\.6"):
        parse_bound(text, "min")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fool.persona_rate.low=0.6", r"no arm 'fool'\. It has base, prompted"),
        ("full.person_rate.low=0.6", r"no metric 'person_rate'\. There are .*persona_rate"),
        ("full.followed_rate[Be brief].low=0", r"no trial 'Be brief'\. There are plain; break_character.*Never break"),
        ("full.followed_rate[prefill].low=0", r"no metric 'followed_rate'\. There are persona_rate"),
        ("full-teacher.persona_rate.low=0", r"no such difference\. It has full-base\.persona_rate"),
    ],
)
def test_a_figure_that_does_not_exist_is_an_error_and_not_a_pass(text, message):
    with pytest.raises(ReportError, match=message):
        check_bounds(captain_report(), [parse_bound(text, "min")])


def test_the_command_exits_with_one_when_a_bound_is_broken(tmp_path):
    write_report(captain_report(), tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["run"]["name"] == "demo"

    def run(*bounds: str):
        return CliRunner().invoke(app, ["gate", str(tmp_path), *bounds])

    passed = run("--min", "full.persona_rate.low=0.6", "--max", "full.looping_rate.value=0.3")
    assert passed.exit_code == 0
    assert passed.output.count("kept") == 2
    of_trial = run("--min", "full.persona_rate[prefill].low=0.1")
    assert "kept   full.persona_rate[prefill].low >= 0.1" in of_trial.output
    failed = run("--min", "full.persona_rate.low=0.6", "--min", "full.identity_rate.low=0.99")
    assert failed.exit_code == 1
    assert "broken full.identity_rate.low >= 0.99" in failed.output


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ([], "no bound is given"),
        (["--min", "persona_rate=0.6"], "is not of the form"),
        (["--min", "full.person_rate.low=0.6"], "no metric 'person_rate'"),
    ],
)
def test_the_command_exits_with_two_when_nothing_could_be_checked(tmp_path, bounds, message):
    write_report(captain_report(), tmp_path / "report.json")
    refused = CliRunner().invoke(app, ["gate", str(tmp_path), *bounds])
    assert refused.exit_code == 2
    assert message in refused.output
    assert CliRunner().invoke(app, ["gate", str(tmp_path / "none"), "--min", "full.rating.low=1"]).exit_code == 2
