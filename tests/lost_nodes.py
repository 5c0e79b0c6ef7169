"""A Ray cluster of several nodes on this machine, and ways to lose one."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import ray
import ray._private.state
from ray._private.node import Node
from ray.cluster_utils import Cluster


@contextmanager
def cluster_of(num_workers: int, num_cpus: int) -> Iterator[Cluster]:
    """A head without work and some workers, this process connected; all are gone in the end."""
    # A node that refuses five calls of one second is dead; by Ray's defaults that takes three times as long.
    detection = {"health_check_period_ms": 1000, "health_check_failure_threshold": 5}
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": detection}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(num_workers):
            cluster.add_node(num_cpus=num_cpus)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def nodes_of(cluster: Cluster, *actors: str) -> list[Node]:
    """The worker nodes on which an actor lives whose class contains one of the names."""
    homes = {
        actor["Address"]["NodeID"]
        for actor in ray._private.state.actors().values()
        if actor["State"] == "ALIVE" and any(name in actor["ActorClassName"] for name in actors)
    }
    return [node for node in cluster.worker_nodes if node.node_id in homes]


def lose(cluster: Cluster, node: Node) -> None:
    """Ends a node as a power cut does: everything on it at once, without a word."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [raylet, *raylet.children(recursive=True)]:
        process.kill()
    cluster.remove_node(node, allow_graceful=False)
