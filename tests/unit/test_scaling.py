"""The simulation of many GPUs and personas at its limits, where the answer is known."""

import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.config import load_recipe
from character_ray.plan.check import measured_seconds
from character_ray.plan.scaling import Task, compare_team, fit_tasks, simulate
from character_ray.plan.scaling_page import scaling_page
from character_ray.plan.stage_kinds import held_gpus, task_of
from character_ray.roofline import Costs
from tests.report_fixture import captain_report

TASKS = [
    Task("base pass", "engine", 40.0, 400.0, 10**9),
    Task("dpo", "training", 30.0, 160.0, 16),
    Task("full", "serial", 0.0, 5.0, 1),
]


def test_one_gpu_and_one_persona_take_what_was_measured():
    report = captain_report()
    tasks = fit_tasks(report)
    whole = sum(stage.wall_s for stage in report.run.stages.values())
    assert sum(task.start_s + task.work_s for task in tasks) == pytest.approx(whole)
    assert simulate(tasks, 1, 1).wall_s == pytest.approx(whole)


def test_gpus_without_end_leave_the_starts_and_what_does_not_divide():
    assert simulate(TASKS, 10**9, 1).wall_s == pytest.approx(40 + 30 + 160 / 16 + 5, abs=1e-3)


def test_as_many_gpus_as_personas_take_as_long_as_one():
    assert simulate(TASKS, 64, 64).wall_s == simulate(TASKS, 1, 1).wall_s


@pytest.mark.parametrize(("gpus", "personas", "rounds"), [(8, 100, 13), (64, 100, 2), (1, 7, 7)])
def test_personas_beyond_the_gpus_wait_for_a_team(gpus: int, personas: int, rounds: int):
    found = simulate(TASKS, gpus, personas)
    assert found.wall_s == pytest.approx(rounds * 635)
    assert found.gpu_hours == pytest.approx(gpus * rounds * 635 / 3600)


def test_what_teams_spend_adds_up_and_more_gpus_move_it_to_the_starts():
    few, many = simulate(TASKS, 8, 100), simulate(TASKS, 800, 100)
    assert sum(few.spent.values()) == pytest.approx(1)
    assert sum(many.spent.values()) == pytest.approx(1)
    assert few.bottleneck == "engine"
    assert many.bottleneck == "engine start" or many.spent["engine start"] > few.spent["engine start"]
    assert few.busy > many.busy


def test_a_slow_storage_ends_up_as_the_bottleneck():
    writing = [*TASKS, Task("full adapter", "serial", 0.0, 0.0, 1, gib=2.0)]
    free = simulate(writing, 64, 64)
    slow = simulate(writing, 64, 64, storage_gib_per_s=0.1)
    assert free.wall_s == 635
    assert slow.wall_s == pytest.approx(635 + 64 * 20)
    assert slow.bottleneck in ("storage", "no persona left")


def test_a_task_shorter_than_its_start_is_all_start():
    tasks = fit_tasks(captain_report(), Costs(engine_start=1e6, judge_start=1e6, training_start=1e6))
    assert all(task.work_s == 0 for task in tasks if task.kind != "serial")
    assert not math.isnan(simulate(tasks, 8, 8).busy)


def test_no_gpu_is_refused():
    with pytest.raises(ValueError, match="0 GPUs and 1 personas"):
        simulate(TASKS, 0, 1)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--scale", "1,0"], "'1,0' holds a number below 1"),
        (["--scale", "8", "--personas", "0"], "'0' holds a number below 1"),
        (["--scale", "1", "--measured", "two.json"], "--measured 'two.json' is not of the form GPUS=REPORT"),
        (["--scale", "1", "--measured", "0=two.json"], "with at least one GPU"),
        (["--scale", "1", "--measured", "2="], "such as 2=runs/two/report.json"),
        (["--scale", "1", "--measured-from", "one.json"], "one.json is a run on one GPU that --measured repeats"),
    ],
)
def test_what_cannot_be_simulated_is_said_in_a_sentence(options: list[str], why: str):
    root = Path(__file__).parents[2]
    report = root / "docs" / "results" / "smollm2-full" / "report.json"
    recipe = str(root / "jobs" / "recipes" / "smollm2-full.yaml")
    found = CliRunner().invoke(app, ["plan", recipe, "--against", str(report), *options], env={"COLUMNS": "400"})
    assert found.exit_code == 2
    assert why in found.output


def test_a_run_on_several_gpus_is_held_against_the_simulation():
    report = captain_report()
    tasks = fit_tasks(report)
    same = compare_team(tasks, report, 1)
    assert all(each.error == pytest.approx(0) for each in same)
    assert compare_team(tasks, report, 2)[-1].error < 0


def test_the_page_says_whether_it_was_checked():
    report = captain_report()
    unchecked = scaling_page(report, "r.json", [1, 8], [100], 1.0, 3.0)
    assert "not yet held against a run on two GPUs" in unchecked
    assert "### 100 personas" in unchecked
    checked = scaling_page(report, "r.json", [1, 8], [100], 1.0, 3.0, [(2, report)])
    assert "not yet held" not in checked
    assert "| 2 | whole run |" in checked


def test_the_check_may_be_of_another_run_than_the_page_is_about():
    report, smaller = captain_report(), captain_report()
    smaller.run.name = "small"
    smaller.run.stages = {
        name: each.model_copy(update={"wall_s": each.wall_s / 2}) for name, each in report.run.stages.items()
    }
    page = scaling_page(report, "r.json", [1], [1], 1.0, 3.0, [(1, smaller)], smaller)
    assert "of another recipe, small" in page
    assert "+0% |" in next(line for line in page.splitlines() if line.startswith("| 1 | whole run |"))
    assert "+0% |" not in next(
        line
        for line in scaling_page(report, "r.json", [1], [1], 1.0, 3.0, [(1, smaller)]).splitlines()
        if line.startswith("| 1 | whole run |")
    )


@pytest.mark.parametrize(
    ("stage", "task"),
    [
        ("opposite", ("base pass", "engine")),
        ("on-policy", ("on-policy pass", "engine")),
        ("trait-requests", ("trait pass", "engine")),
        ("trait-prompts", ("trait-prompts", "serial")),
        ("control-opposite", ("base pass", "engine")),
        ("erosion-teacher", ("base pass", "engine")),
        ("control-interactions", ("control-dpo pass", "engine")),
        ("full-folded", ("full-folded", "serial")),
    ],
)
def test_every_pass_of_an_engine_divides(stage: str, task: tuple[str, str]):
    assert task_of(stage) == task
    report = captain_report()
    done = next(iter(report.run.stages.values())).model_copy(update={"wall_s": 100.0})
    report.run.stages = {stage: done}
    (found,) = fit_tasks(report)
    assert (found.name, found.kind, found.max_gpus > 1) == (*task, task[1] == "engine")


def test_prompts_written_for_directives_are_held_against_their_plan():
    assert measured_seconds({"trait-requests": 3.0, "trait-prompts": 1.0}) == {
        "trait prompts": 3.0,
        "trait-prompts": 1.0,
    }


def test_a_stage_is_counted_with_the_whole_gpus_that_it_holds():
    full = Path(__file__).parents[2] / "jobs" / "recipes" / "smollm2-full.yaml"
    teacher = "teacher_engine={tensor_parallel: 4, replicas: 2}"
    alone = ["student_engine.keep=false", "student_engine.gpu_share=1", "judge.keep=false", "train.gpu_share=1"]
    workers = ["train.workers=8", "dpo.micro_batch_size=1", "sft.micro_batch_size=1"]
    spread = load_recipe(full, [*alone, teacher, "student_engine.replicas=3", *workers])
    stages = ("teacher", "answers-teacher", "lessons", "lessons-student", "answers-base", "interactions", "dpo", "full")
    assert [held_gpus(stage, spread) for stage in stages] == [8, 8, 8, 3, 3, 3, 8, 0]
    shared = load_recipe(full)
    assert shared.gpus_by_section["train"] == pytest.approx(1), (
        "0.2 for the engine, 0.1 for each of four judges, 0.4 to train"
    )
    assert [held_gpus(stage, shared) for stage in ("teacher", "dpo", "scores-pairs", "pairs")] == [1, 1, 1, 1]
    tuned = load_recipe(full, [*alone, "evaluate.classifier.fine_tune={device: gpu, workers: 2}"])
    assert [held_gpus(stage, tuned) for stage in ("classifier", "classifier-generators", "pairs")] == [2, 2, 0]


@pytest.mark.parametrize(("keep", "later_s"), [(False, 43.6), (True, 2.0)])
def test_a_kept_engine_starts_once(keep: bool, later_s: float):
    report = captain_report()
    stage = next(iter(report.run.stages.values())).model_copy(update={"wall_s": 100.0})
    report.run.stages = {"teacher": stage, "reflections": stage, "answers-full": stage}
    report.run.recipe["student_engine"] = {"keep": keep}
    assert [task.start_s for task in fit_tasks(report)] == [43.6, later_s, later_s]
