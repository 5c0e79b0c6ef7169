"""Serving is refused on a cluster that can never hold its replicas, and waits for nodes that an autoscaler adds."""

import pytest

from character_ray.cluster_room import Need
from character_ray.config import EngineConfig, ModelConfig, ServeConfig, ServedJudgeConfig
from character_ray.errors import ClusterError, ServingError
from character_ray.serving.room import check_room, needed_to_serve, watches

ON_CPU, SPLIT = EngineConfig(device="cpu", cpus=2), EngineConfig(tensor_parallel=2)
TOO_SMALL = [
    ([{"CPU": 1.0}], ON_CPU, 1, r"1 replica with 2 CPU, .* room for 0 \(1 with 1 CPU\)"),
    ([{"CPU": 1.0}, {"CPU": 1.0}], ON_CPU, 1, r"1 replica .* room for 0 \(2 with 1 CPU\)"),
    ([{"CPU": 8.0}], SPLIT, 1, r"2 workers with 2 CPU and 1 GPU each, .* room for 0"),
    ([{"CPU": 3.0, "GPU": 2.0}], SPLIT, 1, r"2 workers .* room for 1 \(1 with 3 CPU and 2 GPU\)"),
    ([{"CPU": 0.0}], SPLIT, 3, r"6 workers .* room for 0 \(1 with no CPU\)"),
]


def needed(engine: EngineConfig, replicas: int, judge: ServedJudgeConfig | None = None) -> tuple[Need, ...]:
    return needed_to_serve(engine, ServeConfig(min_replicas=replicas, max_replicas=replicas, judge=judge))


@pytest.mark.parametrize(("nodes", "engine", "replicas", "missing"), TOO_SMALL)
def test_a_cluster_too_small_is_noticed_before_an_engine_starts(nodes, engine, replicas, missing):
    with pytest.raises(
        ServingError, match=rf"serving needs {missing}.*lower student_engine\.cpus or serve\.min_replicas"
    ):
        check_room(needed(engine, replicas), nodes, lambda: False)


@pytest.mark.parametrize(("nodes", "engine", "replicas", "missing"), TOO_SMALL)
def test_one_that_its_autoscaler_has_scaled_down_is_waited_for(nodes, engine, replicas, missing):
    awaited = check_room(needed(engine, replicas), nodes, lambda: True)
    assert awaited.startswith("serving needs ") and "student_engine.wait_for_nodes_s" in awaited


@pytest.mark.parametrize(
    ("nodes", "engine", "replicas"),
    [
        ([{"CPU": 8.0, "GPU": 4.0}], SPLIT, 2),
        ([{"CPU": 2.0, "GPU": 1.0}] * 2, SPLIT, 1),
        ([{"CPU": 0.0}, {"CPU": 2.0}], ON_CPU, 1),
    ],
)
def test_a_cluster_large_enough_is_accepted(nodes, engine, replicas):
    assert check_room(needed(engine, replicas), nodes, lambda: pytest.fail("nobody needs to know")) == ""


def test_nodes_that_never_join_end_the_wait_and_nothing_is_said_to_be_kept():
    (watch,) = watches(needed(ON_CPU, 1), 0, lambda: [{"CPU": 0.0}])
    with pytest.raises(ClusterError) as caught:
        watch.check()
    assert "no others joined within wait_for_nodes_s=0. Add nodes, or lower student_engine.cpus" in str(caught.value)
    assert "kept" not in str(caught.value)


JUDGED = ServedJudgeConfig(model=ModelConfig())
SPLIT_JUDGE = ServedJudgeConfig(
    model=ModelConfig(), engine=EngineConfig(tensor_parallel=2, cpus=1), min_replicas=2, max_replicas=2
)


@pytest.mark.parametrize(
    ("nodes", "engine", "judge", "missing"),
    [
        (
            [{"CPU": 3.0}],
            ON_CPU,
            JUDGED,
            r"1 replica with 2 CPU, .* room for 0 \(1 with 1 CPU\).*lower student_engine\.cpus",
        ),
        ([{"CPU": 9.0, "GPU": 5.0}], SPLIT, SPLIT_JUDGE, r"4 workers .* room for 3 .*lower serve\.judge\.engine\.cpus"),
    ],
)
def test_a_judge_needs_room_beside_base_and_personas(nodes, engine, judge, missing):
    with pytest.raises(
        ServingError, match=f"^the judge, beside base and personas, needs {missing}.*serve.judge.min_replicas"
    ):
        check_room(needed(engine, 1, judge), nodes, lambda: False)
    assert check_room(needed(engine, 1), nodes, lambda: False) == ""
    more = [*nodes, {"CPU": 2.0, "GPU": 1.0}]
    assert check_room(needed(engine, 1, judge), more, lambda: False) == ""


def test_room_that_goes_to_the_judge_alone_is_missed_for_the_personas():
    needs = needed(EngineConfig(device="cpu", cpus=4), 1, JUDGED.model_copy(update={"engine": ON_CPU}))
    with pytest.raises(ServingError, match=r"^serving needs 1 replica with 4 CPU"):
        check_room(needs, [{"CPU": 3.0}, {"CPU": 3.0}], lambda: False)
    base, judge = watches(needs, 0, lambda: [{"CPU": 4.0}])
    assert base.check()
    with pytest.raises(ClusterError, match=r"^the judge, beside base and personas, needs 1 replica with 2 CPU"):
        judge.check()
    assert all(watch.check() for watch in watches(needs, 0, lambda: [{"CPU": 4.0}, {"CPU": 2.0}]))
