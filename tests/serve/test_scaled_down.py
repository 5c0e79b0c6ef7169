"""An application on a cluster without a node that could hold it: one that joins is waited for, and missed after a while."""

import socket
import urllib.request
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from ray import serve
from ray.cluster_utils import Cluster

from character_ray.cluster_room import alive_nodes
from character_ray.config import EngineConfig, ServeConfig
from character_ray.errors import ClusterError, ServingError
from character_ray.serving.room import check_room, needed_to_serve, watches
from character_ray.serving.running import running
from tests.lost_nodes import cluster_of

CPUS = 2
NEEDS = needed_to_serve(EngineConfig(device="cpu", cpus=CPUS), ServeConfig())
api = FastAPI()


@serve.deployment(ray_actor_options={"num_cpus": CPUS})
@serve.ingress(api)
class Answers:
    """What answers once there is a node with room for it."""

    @api.get("/v1/models")
    def models(self) -> list[str]:
        """What the address is tried with."""
        return ["here"]


@serve.deployment(max_constructor_retry_count=1)
class Broken:
    """What cannot start, as an engine whose model does not fit."""

    def __init__(self) -> None:
        raise ValueError("no room for keys and values")

    def __call__(self) -> None:
        """Never reached."""


@pytest.fixture(scope="module")
def scaled_down() -> Iterator[Cluster]:
    """A head without CPUs, alone."""
    with cluster_of(0, CPUS) as cluster:
        yield cluster
        serve.shutdown()


@pytest.fixture(scope="module")
def address() -> ServeConfig:
    """A free port, which Ray Serve then keeps."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return ServeConfig(port=probe.getsockname()[1])


def test_a_node_that_never_joins_ends_the_wait_and_takes_the_application_down(
    scaled_down: Cluster, address: ServeConfig
):
    with (
        pytest.raises(
            ClusterError, match=r"^serving needs 1 replica with 2 CPU, .*within wait_for_nodes_s=2\. Add nodes"
        ),
        running(Answers.bind(), address, watches(NEEDS, 2)),
    ):
        pytest.fail("there is no room for it")
    assert not serve.status().applications


def test_a_node_that_joins_is_waited_for(scaled_down: Cluster, address: ServeConfig):
    looks: list[int] = []

    def nodes() -> list[dict[str, float]]:
        """The cluster's, to which one is added at the second look, as an autoscaler does that has seen what waits."""
        looks.append(len(alive_nodes()))
        if len(looks) == 2:
            scaled_down.add_node(num_cpus=CPUS)
        return alive_nodes()

    assert "autoscaler is waited for" in check_room(NEEDS, alive_nodes(), lambda: True)
    with running(Answers.bind(), address, watches(NEEDS, 600, nodes)) as url:
        assert looks[:2] == [1, 1]
        with urllib.request.urlopen(f"{url}/models") as answer:
            assert answer.read() == b'["here"]'


def test_what_cannot_start_says_why_and_is_taken_down(scaled_down: Cluster, address: ServeConfig):
    with (
        pytest.raises(ServingError, match=r"^the engine did not start: .*no room for keys and values"),
        running(Broken.options(ray_actor_options={"num_cpus": 0}).bind(), address, watches(NEEDS, 600)),
    ):
        pytest.fail("it cannot start")
    assert not serve.status().applications
