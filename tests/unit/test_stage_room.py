"""Before a run starts, every stage of it must have a place that the nodes could give it."""

from pathlib import Path

import pytest

from character_ray.config import Recipe, load_recipe
from character_ray.errors import RecipeError
from character_ray.pipeline.stage_room import Work, bookings_of, check_bookings, whole_run

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "jobs" / "recipes"
SMALL = {"CPU": 4.0}  # what a machine of two cores is started with
SPLIT = ["student_engine={device: gpu, tensor_parallel: 8}"]
FOURS, EIGHT = [{"CPU": 32.0, "GPU": 4.0}] * 2, [{"CPU": 64.0, "GPU": 8.0}]


def nobody_asks() -> bool:
    """Whether nodes may join, where that decides nothing."""
    pytest.fail("nobody needs to know whether nodes may join")


def check(recipe: Recipe, nodes: list[dict[str, float]], does: tuple[Work, ...] | None = None) -> str:
    """The check of a cluster to which no nodes join."""
    return check_bookings(bookings_of(recipe, whole_run(recipe) if does is None else does), nodes, lambda: False)


def on_cpus(*overrides: str) -> Recipe:
    return load_recipe(RECIPES / "demo-cpu.yaml", list(overrides))


@pytest.mark.parametrize(
    ("recipe", "nodes"),
    [
        ("jobs/recipes/demo-cpu.yaml", [SMALL]),
        ("jobs/recipes/study-cpu.yaml", [SMALL]),
        ("tests/engine/miniature.yaml", [SMALL]),
        ("jobs/recipes/laptop-gpu.yaml", [{"CPU": 4.0, "GPU": 1.0}]),
        ("jobs/recipes/qwen3-4b.yaml", [{"CPU": 4.0, "GPU": 1.0}]),
        ("jobs/recipes/smollm2-full.yaml", [{"CPU": 4.0, "GPU": 1.0}]),
        ("jobs/recipes/cluster-235b.yaml", [{"CPU": 0.0}, *EIGHT, *EIGHT]),
    ],
)
def test_the_recipes_start_where_they_are_meant_to(recipe, nodes):
    loaded = load_recipe(ROOT / recipe)
    assert check_bookings(bookings_of(loaded, ("train", "talk", "classify", "measure")), nodes, nobody_asks) == ""


def test_an_engine_that_holds_conversations_must_lie_on_one_node():
    recipe = load_recipe(RECIPES / "qwen3-4b.yaml", SPLIT)
    with pytest.raises(
        RecipeError,
        match=r"^student_engine for conversations needs 1 node with 1 CPU and 8 GPU, .* room for 0 \(2 with 32 CPU and 4 GPU\), and none "
        r"join .* Lower the engine's tensor_parallel",
    ):
        check(recipe, FOURS)
    assert check(recipe, EIGHT) == ""


def test_one_that_only_completes_requests_may_lie_on_several():
    assert check(load_recipe(RECIPES / "qwen3-4b.yaml", [*SPLIT, "introspect.interactions=0"]), FOURS) == ""
    assert check(load_recipe(RECIPES / "qwen3-4b.yaml", SPLIT), FOURS, does=()) == ""


@pytest.mark.parametrize(
    ("section", "override"), [("student_engine", SPLIT[0]), ("teacher_engine", "teacher_engine.tensor_parallel=8")]
)
def test_wearing_a_persona_down_is_a_conversation_too(section, override):
    overrides = [override, "introspect.interactions=0", "evaluate.challenges.erosion=4"]
    with pytest.raises(RecipeError, match=f"^{section} for conversations needs"):
        check(load_recipe(RECIPES / "qwen3-4b.yaml", overrides), FOURS)


def test_an_engine_that_is_kept_must_lie_on_one_node_whatever_it_is_asked():
    recipe = load_recipe(
        RECIPES / "qwen3-4b.yaml",
        ["student_engine={device: gpu, tensor_parallel: 8, keep: true}", "introspect.interactions=0"],
    )
    with pytest.raises(RecipeError, match=r"^student_engine needs 1 engine with 0\.01 CPU and 8 GPU"):
        check(recipe, FOURS)


def test_more_workers_than_cores_are_refused_before_anything_is_generated():
    recipe = on_cpus("train.workers=8", "dpo.batch_size=32", "sft.batch_size=32")
    with pytest.raises(
        RecipeError,
        match=r"^train needs 8 workers with 2 CPU each, .* room for 2 \(1 with 4 CPU\), .*Lower train\.workers or train\.cpus_per_worker",
    ):
        check(recipe, [SMALL])
    assert check(recipe, [{"CPU": 17.0}]) == ""
    assert check(recipe, [SMALL], does=("measure",)) == "", "what trains nothing needs no workers"


def test_workers_must_fit_beside_what_is_kept():
    overrides = ("train.workers=2", "dpo.batch_size=8", "sft.batch_size=8")
    with pytest.raises(
        RecipeError,
        match=r"\(1 with 3\.98 CPU\) beside the engines .*set student_engine\.keep and judge\.keep to false",
    ):
        check(on_cpus(*overrides), [SMALL])
    assert check(on_cpus(*overrides, "student_engine.keep=false", "judge.keep=false"), [SMALL]) == ""
    assert check(on_cpus(*overrides), [SMALL, SMALL]) == "", "they may lie on one node, and a worker beside them"


def test_workers_in_this_process_need_no_place():
    recipe = on_cpus("train.in_process=true", "train.zero_stage=0", "train.cpus_per_worker=64")
    assert check(recipe, [SMALL]) == ""


def test_the_classifier_s_workers_need_a_place_where_a_run_fine_tunes_it():
    recipe = on_cpus("evaluate.classifier.fine_tune={workers: 4, cpus_per_worker: 2}")
    with pytest.raises(
        RecipeError,
        match=r"^evaluate\.classifier\.fine_tune needs 4 workers with 2 CPU each.* Lower evaluate\.classifier\.fine_tune\.workers or",
    ):
        check(recipe, [SMALL])
    assert check(recipe, [SMALL], does=("train", "talk", "measure")) == "", "an update trains no classifier"
    assert check(on_cpus("evaluate.classifier.fine_tune=all-minilm-l6-v2"), [SMALL]) == ""


def test_a_judge_needs_its_threads_unless_it_is_kept():
    assert check(on_cpus("judge.cpus=8"), [SMALL]) == ""
    with pytest.raises(RecipeError, match=r"^judge needs 1 replica with 8 CPU.* Lower judge\.cpus"):
        check(on_cpus("judge.cpus=8", "judge.keep=false"), [SMALL])
    with pytest.raises(RecipeError, match=r"^a measure on the judge's device needs 1 replica with 8 CPU"):
        check(on_cpus("judge.cpus=8", "evaluate.further=[drift]"), [SMALL])


def test_what_nodes_that_join_may_hold_is_waited_for():
    recipe = load_recipe(RECIPES / "qwen3-4b.yaml", SPLIT)
    awaited = check_bookings(bookings_of(recipe, whole_run(recipe)), FOURS, lambda: True)
    assert awaited.startswith("student_engine for conversations needs 1 node")
    assert "wait_for_nodes_s" in awaited
