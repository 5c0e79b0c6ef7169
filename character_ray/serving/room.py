"""Whether a Ray cluster has room for the replicas that are always kept, since Ray Serve waits for it without end."""

from collections.abc import Callable, Mapping, Sequence

from character_ray.cluster_room import Need, room_for, shortage
from character_ray.config import EngineConfig
from character_ray.errors import ServingError

__all__ = ["check_room", "needed_to_serve"]


def needed_to_serve(engine: EngineConfig, replicas: int) -> Need:
    """What the replicas take, as their placement groups ask for it: those of a GPU engine may lie on several nodes."""
    remedy = "lower student_engine.cpus or serve.min_replicas"
    if engine.device == "cpu":
        return Need("serving", "replica", {"CPU": float(engine.cpus)}, replicas, remedy, resumes=False)
    workers = replicas * engine.gpus_of_one
    return Need("serving", "worker", {"CPU": float(engine.cpus), "GPU": 1.0}, workers, remedy, resumes=False)


def check_room(need: Need, nodes: Sequence[Mapping[str, float]], may_grow: Callable[[], bool]) -> str:
    """Refuse what a cluster can never hold.

    Args:
        need: The replicas.
        nodes: Resources of the nodes that are alive.
        may_grow: Finds out whether an autoscaler may add nodes.

    Returns:
        What is to be waited for, as a sentence; empty where everything is there.

    Raises:
        ServingError: There is too little room, and no nodes join by themselves.
    """
    if room_for(need, nodes) >= need.count:
        return ""
    if may_grow():
        return (
            f"{shortage(need, nodes)}. Its autoscaler is waited for, as long as student_engine.wait_for_nodes_s says."
        )
    raise ServingError(
        f"{shortage(need, nodes)}. Use --device cpu for a small model, {need.remedy}, or connect to a larger cluster."
    )
