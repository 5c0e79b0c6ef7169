"""Bounds on a report: what is let through, what is not, and what is no bound."""

import json

import pytest
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.comparison import check_bounds, parse_bound
from character_ray.errors import ReportError
from character_ray.report.io import write_report
from character_ray.report.schema import Metric
from tests.report_fixture import captain_report
from tests.trials_fixture import KINDS


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
        ("full.hidden_trait_rate[Never break character].low=0.5", "min", True),
        ("full.hidden_trait_classifier_rate[Never break character].low=0.5", "min", False),
        ("full.hidden_trait_classifier_rate.low=0.5", "min", True),
        ("full.kept_rate[Answer in three sentences at most].low=0", "min", False),
    ],
)
def test_a_bound_is_kept_or_broken(text, side, kept):
    (verdict,) = check_bounds(captain_report(), [parse_bound(text, side)])
    assert verdict.kept is kept


def test_a_bound_on_every_directive_names_each_with_its_figures():
    report = captain_report()
    verdicts = check_bounds(report, [parse_bound("full.kept_rate[every directive].low=0.3", "min")])
    assert {each.bound.kind: each.kept for each in verdicts} == {
        "Loyal to your crew above all": True,
        "Use nautical metaphors in explanations": True,
        "Never break character": False,
        "Answer in three sentences at most": False,
    }
    broken, unasked = verdicts[2:]
    assert str(broken.bound) == "full.kept_rate[Never break character].low >= 0.3"
    assert broken.found == "0.2538, of 0.50 [0.25, 0.75], n = 12"
    assert unasked.found.startswith("not measured: no occasion was made for this directive")


def test_a_bound_on_every_directive_is_broken_by_one_whose_judge_decides_nothing():
    report = captain_report()
    trial = next(each for each in report.trials.rates if each.kind == "Never break character")
    trial.arms["full"]["followed_rate"] = Metric(value=None, reason="its judge cannot tell the teacher from base")
    verdicts = check_bounds(report, [parse_bound("full.followed_rate[every directive].value=0", "min")])
    assert [each.kept for each in verdicts] == [True, True, False, False]
    assert verdicts[2].found == "not measured: its judge cannot tell the teacher from base"


def test_every_holds_for_other_groups_of_trials_and_for_those_of_them_that_have_the_figure():
    report = captain_report()
    attacks = check_bounds(report, [parse_bound("full.persona_rate[every attack].low=0.1", "min")])
    assert [each.bound.kind for each in attacks] == KINDS["attack"]
    injections = check_bounds(report, [parse_bound("full.obeyed_rate[every attack].high=1", "max")])
    assert [each.bound.kind for each in injections] == ["document_injection", "tool_injection"]


def test_a_directive_that_begins_with_every_is_itself():
    report = captain_report()
    report.trials.rates[-1].kind = "every answer ends with an order"
    (verdict,) = check_bounds(report, [parse_bound("full.kept_rate[every answer ends with an order].low=0", "min")])
    assert verdict.kept


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
        (
            "full.kept_rate[every directiv].low=0",
            r"group 'directiv'\. There are every plain; every attack; .*every directive",
        ),
        ("full.rate[every directive].low=0", r"no metric 'rate'\. There are persona_rate, .*hidden_trait_rate"),
        ("fool.kept_rate[every directive].low=0", r"no arm 'fool'"),
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
    assert "1 of 2 bounds do not hold." in failed.output
    of_each = run("--min", "full.hidden_trait_rate[every directive].low=0.5")
    assert of_each.exit_code == 1
    assert of_each.output.count("kept   full.hidden_trait_rate[") == 3
    assert "broken full.hidden_trait_rate[Answer in three sentences at most].low >= 0.5" in " ".join(
        of_each.output.split()
    )


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
