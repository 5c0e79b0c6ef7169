"""What engines and judges cannot do without on a cluster: one of them, since those that are left go on, or all that are kept."""

from character_ray.cluster_room import Need
from character_ray.config import EngineConfig, JudgeConfig
from character_ray.inference.kept_actors import IDLE_CPUS
from character_ray.inference.weights import Weights

__all__ = [
    "engine_of",
    "needed_by_engine",
    "needed_by_judges",
    "needed_by_kept",
    "needed_by_kept_judges",
    "needed_by_talker",
]


def engine_of(weights: Weights) -> str:
    """An engine as the subject of a sentence."""
    return f"an engine of {weights.model.name}"


def needed_by_engine(subject: str, engine: EngineConfig) -> Need:
    """Room for an engine of :mod:`~character_ray.inference.processor`, whose GPUs may be on several nodes."""
    if engine.device == "cpu":
        return Need(subject, "node", {"CPU": 1.0}, 1, "start them with CPUs")
    remedy = "lower the engine's tensor_parallel or pipeline_parallel"
    return Need(subject, "place", {"CPU": 1.0, "GPU": 1.0}, engine.gpus_of_one, remedy)


def needed_by_talker(subject: str, engine: EngineConfig) -> Need:
    """Room for an engine of :mod:`~character_ray.inference.talker`, which is on one node."""
    remedy = "lower the engine's tensor_parallel or pipeline_parallel"
    resources = {"CPU": 1.0, "GPU": float(engine.gpus_of_one)}
    return Need(f"{subject} for conversations", "node", resources, 1, remedy)


def needed_by_kept(subject: str, engine: EngineConfig) -> Need:
    """Room for the engines of :mod:`~character_ray.inference.kept_engines`, each on one node."""
    remedy = "lower the engine's replicas, tensor_parallel or pipeline_parallel"
    resources = {"CPU": IDLE_CPUS, "GPU": engine.gpus_of_one_kept}
    return Need(subject, "engine", resources, engine.replicas, remedy)


def needed_by_judges(subject: str, judge: JudgeConfig) -> Need:
    """Room for one of the judges of :mod:`~character_ray.inference.judge_actors`; those that find none are done without."""
    cpus, gpus = (judge.cpus, 0.0) if judge.device == "cpu" else (1, judge.gpu_share)
    return Need(subject, "replica", {"CPU": float(cpus), "GPU": gpus}, 1, "lower judge.cpus")


def needed_by_kept_judges(subject: str, judge: JudgeConfig) -> Need:
    """Room for the judges of :mod:`~character_ray.inference.kept_judges`, all of which must find some."""
    gpus = judge.gpu_share if judge.device == "gpu" else 0.0
    return Need(subject, "replica", {"CPU": IDLE_CPUS, "GPU": gpus}, judge.replicas, "lower judge.replicas")
