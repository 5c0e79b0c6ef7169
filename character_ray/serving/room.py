"""Whether a Ray cluster has room for the replicas that are always kept, since Ray Serve waits for it without end."""

from collections.abc import Callable, Mapping, Sequence

from character_ray.cluster_room import Need, RoomWatch, alive_nodes, room_beside, room_for, shortage
from character_ray.config import EngineConfig, ServeConfig
from character_ray.errors import ServingError
from character_ray.serving.judge import engine_of_judge

__all__ = ["check_room", "needed_to_serve", "watches"]

Nodes = Callable[[], Sequence[Mapping[str, float]]]


def needed_to_serve(engine: EngineConfig, serve: ServeConfig) -> tuple[Need, ...]:
    """What the replicas of base and judge take together, as their placement groups ask for it.

    Those of a GPU engine may lie on several nodes.

    Args:
        engine: What the base runs on.
        serve: Replicas that are always kept, and the judge if there is one.
    """
    personas = _need("serving", engine, serve.min_replicas, "student_engine.cpus or serve.min_replicas")
    if serve.judge is None:
        return (personas,)
    of_judge = "serve.judge.engine.cpus" if serve.judge.engine else "student_engine.cpus"
    remedy = f"{of_judge}, serve.judge.min_replicas or serve.min_replicas"
    own = engine_of_judge(serve.judge, engine)
    return personas, _need("the judge, beside base and personas,", own, serve.judge.min_replicas, remedy)


def check_room(needs: Sequence[Need], nodes: Sequence[Mapping[str, float]], may_grow: Callable[[], bool]) -> str:
    """Refuse what a cluster can never hold.

    Args:
        needs: The replicas, each beside those before it.
        nodes: Resources of the nodes that are alive.
        may_grow: Finds out whether an autoscaler may add nodes.

    Returns:
        What is to be waited for, as a sentence; empty where everything is there.

    Raises:
        ServingError: There is too little room, and no nodes join by themselves.
    """
    for number, need in enumerate(needs):
        left = room_beside(needs[:number], need, nodes)
        if room_for(need, left) >= need.count:
            continue
        short = shortage(need, left)
        if may_grow():
            return f"{short}. Its autoscaler is waited for, as long as student_engine.wait_for_nodes_s says."
        raise ServingError(
            f"{short}. Use --device cpu for a small model, {need.remedy}, or connect to a larger cluster."
        )
    return ""


def watches(needs: Sequence[Need], patience_s: float, nodes: Nodes = alive_nodes) -> tuple[RoomWatch, ...]:
    """Watches of the room for replicas, each beside those before it.

    Args:
        needs: The replicas.
        patience_s: How long nodes may be missing, in seconds.
        nodes: The cluster's nodes, as :func:`~character_ray.cluster_room.alive_nodes` gives them.
    """

    def beside(number: int) -> Nodes:
        return lambda: room_beside(needs[:number], needs[number], nodes())

    return tuple(RoomWatch(need, patience_s, beside(number)) for number, need in enumerate(needs))


def _need(what: str, engine: EngineConfig, replicas: int, lowered: str) -> Need:
    remedy = f"lower {lowered}"
    if engine.device == "cpu":
        return Need(what, "replica", {"CPU": float(engine.cpus)}, replicas, remedy, resumes=False)
    workers = replicas * engine.gpus_of_one
    return Need(what, "worker", {"CPU": float(engine.cpus), "GPU": 1.0}, workers, remedy, resumes=False)
