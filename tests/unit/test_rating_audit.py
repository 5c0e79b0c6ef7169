"""A run's own judge is audited before it rates the arms; one that fails costs the rating and nothing else."""

import math
from pathlib import Path

import pytest

from character_ray.config import Recipe
from character_ray.constitution import load_constitution
from character_ray.judging.audit import Audit
from character_ray.parts import read_rows
from character_ray.pipeline.contestants import recipe_of
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.measured import measure_answers
from character_ray.pipeline.rating_audit import ask_audit, audit_part, judge_audit, refusal, refusal_note
from character_ray.report.page import render_report
from character_ray.report.schema import JudgeAudit
from character_ray.statistics import Interval
from tests.finished_run import PIRATE, write_run
from tests.report_fixture import captain_report


@pytest.fixture
def context(tmp_path: Path) -> Context:
    folder = write_run(tmp_path / "demo")
    return Context.open(recipe_of(folder))


def persona_of(recipe: Recipe) -> Persona:
    return Persona(load_constitution(recipe.constitution))


def audited(context: Context, likes_pirates: bool):
    asked = ask_audit(context, persona_of(context.recipe))
    (sheet,) = asked.sheets
    assert sheet.artefact.stage == "scores-audit"
    scores = {row["row_id"]: float(row["completion"].startswith(PIRATE) == likes_pirates) for row in sheet.rows}
    return judge_audit(context, asked, [scores])


def test_a_judge_that_sees_the_character_rates_the_arms(context: Context):
    found = audited(context, likes_pirates=True)
    assert refusal(found) == "" and refusal_note(found) == []
    part = JudgeAudit.model_validate(audit_part(found))
    assert part.failures == []
    assert part.measures["accuracy"].value == 1
    assert part.measures["accuracy"].n == 2 * 24
    # One model plays teacher and student here: it wrote both sides.
    assert "self_preference" not in part.measures


def test_a_judge_that_fails_rates_nothing_and_everything_else_is_measured(context: Context, tmp_path: Path):
    found = audited(context, likes_pirates=False)
    why = refusal(found)
    assert "accuracy 0.00 is below 0.8" in why and "judge.audit" in why
    answers = read_rows(tmp_path / "demo" / "answers.parquet")
    arms = ["base", "prompted", "full"]
    own = [row for row in answers if row["arm"] in arms]
    measured = measure_answers(context.recipe, persona_of(context.recipe), own, arms, -1.0, refused=why)
    parts = measured.parts()
    assert {arm: metrics["rating"]["value"] for arm, metrics in parts["arms"].items()} == dict.fromkeys(arms)
    assert parts["arms"]["full"]["rating"]["reason"] == why
    assert parts["elo_sequential"] == parts["win_rates"] == {}
    assert {each["metric"] for each in parts["differences"]} >= {"persona_rate", "vocabulary_rate"}
    assert "rating" not in {each["metric"] for each in parts["differences"]}
    assert parts["arms"]["full"]["persona_rate"]["value"] == 1
    rated = measure_answers(context.recipe, persona_of(context.recipe), own, arms, -1.0).parts()
    assert rated["arms"]["full"]["rating"]["value"] is not None
    assert rated["arms"]["full"]["persona_rate"] == parts["arms"]["full"]["persona_rate"]

    report = captain_report().model_copy(deep=True)
    report.judge.audit = JudgeAudit.model_validate(audit_part(found))
    report.elo_sequential, report.win_rates, report.tie_share = {}, {}, None
    for metrics in report.arms.values():
        metrics["rating"] = metrics["rating"].model_copy(
            update={"value": None, "low": None, "high": None, "reason": why}
        )
    page = render_report(report)
    assert "Refused</strong> by the audit" in page and "accuracy 0.00 is below 0.8" in page


def test_a_run_with_too_few_known_pairs_is_not_rated(context: Context):
    train = context.run.folder / "prompts" / "train.parquet"
    train.unlink()
    asked = ask_audit(context, persona_of(context.recipe))
    assert asked.sheets == []
    found = judge_audit(context, asked, [])
    assert not found.passed and "no training prompts" in refusal(found)
    assert JudgeAudit.model_validate(audit_part(found)).measures == {}


def test_a_figure_without_an_interval_or_a_verdict_has_none_in_the_report():
    gap = Interval(0.1, 0.1, 0.1, 24, "no interval: the same on all of 24 prompts")
    unread = Interval(math.nan, math.nan, math.nan, 0, "no verdict could be read")
    part = JudgeAudit.model_validate(audit_part(Audit({"length_gap": gap, "accuracy": unread}, [])))
    assert (part.measures["length_gap"].value, part.measures["length_gap"].low) == (0.1, None)
    assert part.measures["accuracy"].reason == "no verdict could be read"


def test_a_teacher_of_its_own_makes_the_likelihood_judge_the_writer_of_the_worse_side(tmp_path: Path):
    folder = write_run(tmp_path / "demo")
    recipe = recipe_of(folder)
    own = recipe.model_copy(
        update={"teacher": recipe.teacher.model_copy(update={"name": "another"}), "output": tmp_path}
    )
    context = Context.open(recipe)
    found = audited(Context(own, context.student, context.teacher, context.store, context.run), likes_pirates=True)
    assert found.measures["self_preference"].value == 0
    assert found.passed
