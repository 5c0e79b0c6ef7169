"""A stage waits for lost nodes as long as the recipe says, and then names what it needs and what there is."""

import json

import pytest

from character_ray.cluster_room import Need, RoomWatch, is_autoscaled, room_beside, room_for
from character_ray.errors import ClusterError

NEED = Need("dpo training", "worker", {"CPU": 2, "GPU": 1}, 3, "lower train.workers")
BIG, SMALL, HEAD = {"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0, "GPU": 4.0}, {"CPU": 0.0}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def watch(nodes: list[dict[str, float]], patience_s: float) -> tuple[RoomWatch, Clock]:
    clock = Clock()
    return RoomWatch(NEED, patience_s, lambda: nodes, clock), clock


@pytest.mark.parametrize(("nodes", "room"), [([], 0), ([HEAD], 0), ([BIG], 2), ([SMALL], 1), ([BIG, SMALL, HEAD], 3)])
def test_what_is_needed_together_must_fit_on_one_node(nodes, room):
    assert room_for(NEED, nodes) == room


def test_a_resource_of_which_none_is_needed_does_not_count():
    assert room_for(Need("the judge", "replica", {"CPU": 1, "GPU": 0}, 1, ""), [{"CPU": 4.0}]) == 4


@pytest.mark.parametrize(
    ("share", "gpus", "room"),
    [(0.1, 1.0, 10), (0.4, 2.0, 4), (0.4, 1.8, 4), (0.2, 1 - 0.2 - 4 * 0.1 - 0.2, 1), (1.0, 1.8, 1)],
)
def test_a_share_of_a_gpu_lies_on_one_gpu(share, gpus, room):
    assert room_for(Need("a worker", "worker", {"GPU": share}, 1, ""), [{"GPU": gpus}]) == room


def test_what_stays_up_is_put_where_it_stands_least_in_the_way():
    engine = Need("an engine", "engine", {"CPU": 0.25, "GPU": 1}, 2, "")
    assert room_beside([engine], NEED, [BIG, SMALL]) == [BIG, {"CPU": 2.5, "GPU": 2.0}]
    assert room_beside([engine], NEED, [HEAD]) == [HEAD]


def test_too_little_room_for_too_long_ends_the_wait_with_what_is_needed_and_what_there_is():
    watched, clock = watch([BIG, HEAD, HEAD], 10)
    assert not watched.check()
    clock.now = 9.5
    assert not watched.check()
    clock.now = 10.5
    with pytest.raises(ClusterError) as caught:
        watched.check()
    assert str(caught.value) == (
        "dpo training needs 3 workers with 2 CPU and 1 GPU each, but the nodes of the cluster that are alive have room for 2 "
        "(1 with 8 CPU and 2 GPU, 2 with no CPU), and no others joined within wait_for_nodes_s=10. What is finished is kept: add nodes, "
        "or lower train.workers, and run again to continue."
    )


def test_a_node_that_comes_back_in_time_starts_the_patience_anew():
    nodes = [BIG]
    watched, clock = watch(nodes, 10)
    assert not watched.check()
    nodes.append(SMALL)
    clock.now = 8.0
    assert watched.check()
    nodes.remove(SMALL)
    clock.now = 20.0
    assert not watched.check()
    clock.now = 29.0
    assert not watched.check()


def test_the_cluster_is_not_asked_at_every_step():
    asked = []

    def nodes() -> list[dict[str, float]]:
        asked.append(None)
        return [BIG, SMALL]

    clock = Clock()
    watched = RoomWatch(NEED, 10, nodes, clock)
    for step in range(100):
        clock.now = step / 100
        assert watched.check()
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("labels", "report", "scaled"),
    [
        ([{"ray.io/node-id": "6e99"}], {"active_nodes": {"node_6e99": 1}}, False),
        ([{"ray.io/node-id": "6e99"}], None, False),
        ([{"ray.io/node-id": "ffff"}], {"active_nodes": {"ray.head.default": 1}}, True),
        ([{"ray.io/node-id": "8fb9", "ray.io/node-group": "head-group"}], None, True),
        ([], None, False),
    ],
    ids=["by hand", "by hand, version 2", "autoscaler, version 1", "autoscaler, version 2", "no nodes"],
)
def test_nodes_of_an_autoscaler_are_of_a_group_and_those_started_by_hand_of_none(labels, report, scaled):
    # As Ray 2.60 reported them: heads started by hand, with a launcher's configuration, and as KubeRay names them.
    status = json.dumps({"autoscaler_report": report}).encode() if report else None
    assert is_autoscaled(labels, status) is scaled


def test_without_a_single_node_the_error_says_so():
    watched, _ = watch([], 0)
    with pytest.raises(ClusterError, match=r"room for 0 \(there are none\)"):
        watched.check()
