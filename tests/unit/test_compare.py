"""Runs beside each other: differences are paired by prompt, and what is not comparable is said."""

import html
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.comparison import compare_runs
from character_ray.comparison.page import run_labels
from character_ray.errors import ReportError
from character_ray.parts import write_rows
from character_ray.report import wording
from character_ray.report.io import load_report, write_report
from character_ray.rows import ANSWER, CHALLENGED, DECIDED
from tests.report_fixture import captain_report

IN_CHARACTER, PLAIN = 0.5, -0.3


def write_run(folder: Path, scores: dict[str, float], **changes: str) -> Path:
    folder.mkdir()
    report = captain_report()
    for name, value in changes.items():
        setattr(report.constitution if name == "hash" else report, name, value)
    write_report(report, folder / "report.json")
    rows = [
        {
            "row_id": prompt,
            "arm": "full",
            "prompt_id": prompt,
            "source": "grid",
            "hint": "",
            "sample": 0,
            "prompt": prompt,
            "completion": "Arr, so be it." if score > 0 else "It is so.",
            "error": "",
            "score": score,
        }
        for prompt, score in scores.items()
    ]
    write_rows(folder / "answers.parquet", rows, ANSWER)
    return folder


def test_a_difference_is_taken_on_the_prompts_both_answered(tmp_path):
    first = write_run(tmp_path / "a", {"p0": PLAIN, "p1": PLAIN, "p2": IN_CHARACTER, "only-here": PLAIN})
    second = write_run(tmp_path / "b", {"p0": IN_CHARACTER, "p1": PLAIN, "p2": IN_CHARACTER, "only-there": PLAIN})
    shifts = {shift.metric: shift for shift in compare_runs([first, second], "full").shifts}
    assert shifts["persona_rate"].interval.value == pytest.approx(1 / 3)
    assert shifts["persona_rate"].interval.n == 3
    assert shifts["vocabulary_rate"].interval.value == pytest.approx(1 / 3)
    assert shifts["looping_rate"].interval.value == 0
    assert all(shift.p_value == 1.0 for shift in shifts.values()), "one prompt of three proves nothing"


def test_differences_are_tested_on_the_pairs_and_adjusted_for_their_number(tmp_path):
    first = write_run(tmp_path / "a", {f"p{n}": PLAIN for n in range(12)})
    second = write_run(tmp_path / "b", {f"p{n}": IN_CHARACTER for n in range(12)})
    shifts = {shift.metric: shift for shift in compare_runs([first, second], "full").shifts}
    # Twelve of twelve prompts differ in one direction; three metrics are compared.
    assert shifts["persona_rate"].p_value == pytest.approx(3 * 2 / 2**12)
    assert shifts["looping_rate"].p_value == 1.0


def test_what_is_not_comparable_is_said(tmp_path):
    first = write_run(tmp_path / "a", {"p0": PLAIN})
    second = write_run(tmp_path / "b", {"p0": PLAIN}, hash="another", prompts_hash="another")
    warnings = " ".join(compare_runs([first, second], "full").warnings)
    assert "another constitution" in warnings
    assert "other evaluation prompts" in warnings
    assert compare_runs([first, first], "full").warnings == []


def test_stakeholders_are_paired_where_runs_wrote_their_decisions_down(tmp_path):
    runs = [write_run(tmp_path / name, {"p0": PLAIN}) for name in "ab"]
    for run, kept in zip(runs, ([0, 0, 1], [1, 1, 1]), strict=True):
        rows = [
            {"arm": "full", "metric": metric, "prompt_id": f"o{number}", "value": float(value)}
            for metric in ("operator_rate", "refused_in_character_rate")
            for number, value in enumerate(kept)
        ]
        write_rows(run / "decisions.parquet", rows, DECIDED)
    shifts = {shift.metric: shift.interval for shift in compare_runs(runs, "full").shifts}
    assert shifts["operator_rate"].value == shifts["safety_rate"].value == pytest.approx(2 / 3)
    assert "user_rate" not in shifts


def decide(run: Path, **values: dict[str, float]) -> None:
    """Write down what the run decided, by metric and prompt."""
    rows = [
        {"arm": "full", "metric": metric, "prompt_id": prompt, "value": value}
        for metric, own in values.items()
        for prompt, value in own.items()
    ]
    write_rows(run / "decisions.parquet", rows, DECIDED)


def test_classifier_override_probes_and_attacks_are_paired_too_and_adjusted_together(tmp_path):
    runs = [write_run(tmp_path / name, {"p0": PLAIN}) for name in "ab"]
    names = ("classifier_rate", "override_rate", "hidden_trait_rate", "identity_rate", "attack_rate")
    for run, value in zip(runs, (0.0, 1.0), strict=True):
        decide(run, **{name: {f"q{number}": value for number in range(12)} for name in names})
    shifts = {shift.metric: shift for shift in compare_runs(runs, "full").shifts}
    assert set(names) < set(shifts)
    # Twelve of twelve prompts differ in one direction, on five of eight metrics.
    for name in names:
        assert (shifts[name].interval.value, shifts[name].interval.n) == (1, 12)
        assert shifts[name].p_value == pytest.approx(8 * 2 / 2**12)


def test_probes_that_were_answered_several_times_are_compared_by_their_shares(tmp_path):
    runs = [write_run(tmp_path / name, {"p0": PLAIN}) for name in "ab"]
    for run, share in zip(runs, (0.25, 0.75), strict=True):
        decide(run, hidden_trait_rate={f"q{number}": share for number in range(12)})
    shift = next(each for each in compare_runs(runs, "full").shifts if each.metric == "hidden_trait_rate")
    assert shift.interval.value == 0.5
    assert shift.p_value == pytest.approx(4 * 2 / 2**12)  # all signs of twelve differences alike; four metrics


def test_attacks_of_one_wording_are_one_cluster(tmp_path):
    """Twenty prompts of four wordings prove no more than four can."""
    runs = [write_run(tmp_path / name, {"p0": PLAIN}) for name in "ab"]
    empty = dict.fromkeys(("row_id", "prompt", "system", "begun", "canary", "completion", "error"), "")
    for run, value in zip(runs, (0.0, 1.0), strict=True):
        trials = [
            {**empty, "arm": "full", "group": "attack", "kind": "k", "challenge_id": f"c{n}", "wording": f"w{n % 4}"}
            | {"turn": 0, "score": 0.0}
            for n in range(20)
        ]
        write_rows(run / "trials.parquet", trials, CHALLENGED)
        decide(run, attack_rate={f"k/c{number}": value for number in range(20)})
    shift = next(each for each in compare_runs(runs, "full").shifts if each.metric == "attack_rate")
    assert (shift.interval.value, shift.interval.n) == (1, 4)
    assert shift.p_value == pytest.approx(4 * 2 / 2**4)


def test_operators_rates_of_other_constraints_are_not_compared_in_silence(tmp_path):
    first, second = (write_run(tmp_path / name, {"p0": PLAIN}) for name in "ab")
    report = load_report(second / "report.json")
    report.trials.directive_judges[1].reason = ""
    write_report(report, second / "report.json")
    (warning,) = compare_runs([first, second], "full").warnings
    assert "made of other constraints" in warning


def test_personas_without_a_constraint_in_common_are_compared_on_the_rest(tmp_path):
    runs = [write_run(tmp_path / name, {"p0": PLAIN, "p1": IN_CHARACTER}) for name in "ab"]
    for run, constraint in zip(runs, ("Never lie", "Never break character"), strict=True):
        asked = {"operator_rate": f"{constraint}/o0", "refused_in_character_rate": "harmful/h0"}
        rows = [{"arm": "full", "metric": name, "prompt_id": each, "value": 1.0} for name, each in asked.items()]
        write_rows(run / "decisions.parquet", rows, DECIDED)
    found = compare_runs(runs, "full")
    assert {shift.metric for shift in found.shifts} == {
        "persona_rate",
        "looping_rate",
        "vocabulary_rate",
        "safety_rate",
    }
    (warning,) = found.warnings
    assert "no difference of operator_rate" in warning and "no constraint in common" in warning


@pytest.mark.parametrize(("arm", "message"), [("sft", "has no arm 'sft'"), ("full", "nothing can be paired")])
def test_runs_that_cannot_be_compared_are_refused(tmp_path, arm, message):
    runs = [write_run(tmp_path / name, {name: PLAIN}) for name in "ab"]
    with pytest.raises(ReportError, match=message):
        compare_runs(runs, arm)
    with pytest.raises(ReportError, match="give two or more"):
        compare_runs(runs[:1], arm)


def test_the_command_shows_both_runs_and_the_difference(tmp_path):
    first = write_run(tmp_path / "a", {f"p{n}": PLAIN for n in range(4)})
    second = write_run(tmp_path / "b", {f"p{n}": IN_CHARACTER for n in range(4)})
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["compare", str(first), str(second)]).output
    assert "Paired differences" in shown and "Operator" in shown
    assert "+100" in shown


def test_the_tables_are_written_as_markdown_with_the_warnings(tmp_path):
    first = write_run(tmp_path / "a|b", {f"p{n}": PLAIN for n in range(4)})
    second = write_run(tmp_path / "b", {f"p{n}": IN_CHARACTER for n in range(4)}, hash="another")
    file = tmp_path / "notes" / "compared.md"
    ended = CliRunner().invoke(app, ["compare", str(first), str(second), "--output", str(file)])
    assert ended.exit_code == 0, ended.output
    lines = file.read_text(encoding="utf-8").splitlines()
    (head,) = (line for line in lines if line.startswith("| metric |"))
    rows = [line for line in lines if line.startswith("|")]
    assert "a\\|b" in head
    assert {line.replace("\\|", "").count("|") for line in rows} == {4, 6}
    assert any(line.startswith(f"| {second} | Persona | +100") for line in rows)
    assert any(line.startswith("- ") and "another constitution" in line for line in lines)


def test_a_run_that_does_not_exist_is_called_so(tmp_path):
    with pytest.raises(ReportError, match=r"none: no such run\. Check the path, or list what is there"):
        compare_runs([tmp_path / "none", tmp_path], "full")
    with pytest.raises(ReportError, match=r"report\.json: no such file\. A run writes it in its last stage"):
        compare_runs([tmp_path, tmp_path / "none"], "full")


def test_the_page_plots_what_several_runs_measured_and_what_differs(tmp_path):
    runs = [
        write_run(tmp_path / name, {f"p{n}": score for n in range(4)})
        for name, score in (("a", PLAIN), ("b", IN_CHARACTER))
    ]
    page = tmp_path / "compared.html"
    ended = CliRunner().invoke(app, ["compare", *map(str, runs), "--output", str(page)])
    assert ended.exit_code == 0, ended.output
    text = html.unescape(page.read_text(encoding="utf-8")).replace("\N{NO-BREAK SPACE}", " ")
    full = captain_report().arms["full"]["persona_rate"]
    shown = wording.amount("persona_rate", full.value).replace("\N{NO-BREAK SPACE}", " ")
    label = re.escape(wording.label("persona_rate"))
    assert re.search(rf"{label} by run: a {shown} \[[^]]+\], b {shown} ", text)
    assert re.search(rf"{label} minus that of a: b \+100 pp \[", text)
    assert "ended in" in text
    assert "<script" not in text


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["one/demo", "two/demo"], ["run 1", "run 2"]),
        (["runs/a", "runs/smollm2-full-captain"], ["run 1", "run 2"]),
    ],
)
def test_runs_are_called_by_names_that_fit_beside_a_plot(names, labels):
    assert run_labels(names) == labels
