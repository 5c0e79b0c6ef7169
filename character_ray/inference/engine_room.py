"""What a generation cannot do without on the nodes of a cluster: one engine, since those that are left go on, or all that are kept."""

from character_ray.cluster_room import Need
from character_ray.config import EngineConfig
from character_ray.inference.kept_actors import IDLE_CPUS
from character_ray.inference.weights import Weights

__all__ = ["needed_by_engine", "needed_by_kept", "needed_by_talker"]


def needed_by_engine(weights: Weights, engine: EngineConfig) -> Need:
    """Room for an engine of :mod:`~character_ray.inference.processor`, whose GPUs may be on several nodes."""
    subject = f"an engine of {weights.model.name}"
    if engine.device == "cpu":
        return Need(subject, "node", {"CPU": 1.0}, 1, "start them with CPUs")
    remedy = "lower the engine's tensor_parallel or pipeline_parallel"
    return Need(subject, "place", {"CPU": 1.0, "GPU": 1.0}, engine.gpus_of_one, remedy)


def needed_by_talker(weights: Weights, engine: EngineConfig) -> Need:
    """Room for an engine of :mod:`~character_ray.inference.talker`, which is on one node."""
    remedy = "lower the engine's tensor_parallel or pipeline_parallel"
    resources = {"CPU": 1.0, "GPU": float(engine.gpus_of_one)}
    return Need(f"an engine of {weights.model.name} for conversations", "node", resources, 1, remedy)


def needed_by_kept(weights: Weights, engine: EngineConfig) -> Need:
    """Room for the engines of :mod:`~character_ray.inference.kept_engines`, each on one node."""
    remedy = "lower the engine's replicas, tensor_parallel or pipeline_parallel"
    resources = {"CPU": IDLE_CPUS, "GPU": engine.gpus_of_one_kept}
    return Need(f"an engine of {weights.model.name}", "engine", resources, engine.replicas, remedy)
