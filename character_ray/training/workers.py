"""Workers of Ray Train: started on nodes that can hold them, and started again when they are lost."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from character_ray.cluster_room import Need, RoomWatch
from character_ray.config import ClusterTrainConfig, FineTuneConfig
from character_ray.errors import ClusterError
from character_ray.training.interrupts import interruptible

__all__ = ["needed_to_fine_tune", "needed_to_train", "run_workers"]


def needed_to_train(subject: str, cluster: ClusterTrainConfig, workers: int) -> Need:
    """Room for so many workers of a stage, all of which train at once."""
    resources = {"CPU": float(cluster.cpus_per_worker)} | (
        {"GPU": cluster.gpu_share} if cluster.device == "gpu" else {}
    )
    remedy = f"lower train.min_workers={cluster.min_workers}" if cluster.min_workers else "lower train.workers"
    return Need(subject, "worker", resources, workers, remedy)


def needed_to_fine_tune(subject: str, config: FineTuneConfig) -> Need:
    """Room for the workers that train a classifier."""
    resources = {"CPU": float(config.cpus_per_worker)} | ({"GPU": 1.0} if config.device == "gpu" else {})
    return Need(subject, "worker", resources, config.workers, "ask for fewer workers")


def run_workers(
    function: Callable[[dict[str, Any]], None],
    argument: Mapping[str, Any],
    need: Need,
    folder: Path,
    *,
    max_failures: int,
    wait_for_nodes_s: float,
    in_process: bool = False,
) -> None:
    """Call a function in every worker; needs a running Ray.

    Args:
        function: What each worker does; it finds out itself where a lost attempt had come to.
        argument: Handed to it.
        need: The workers, all of which must fit; on GPUs if it says so.
        folder: What Ray Train keeps of its own lies below it, on storage that all nodes see.
        max_failures: How often lost workers are started again.
        wait_for_nodes_s: How long nodes that could hold them may be missing.
        in_process: Call it in this process instead, once.

    Raises:
        ClusterError: The nodes that are alive cannot hold the workers, and none joined in time.
        Exception: What the function raised, or Ray's error about workers that failed too often.
        KeyboardInterrupt: It was stopped.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from character_ray.training.has_room import HasRoom

    gpu = bool(need.resources.get("GPU"))
    trainer = TorchTrainer(
        function,
        train_loop_config=dict(argument),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=0 if in_process else need.count, use_gpu=gpu, resources_per_worker=dict(need.resources)
        ),
        run_config=RunConfig(
            name="workers",
            storage_path=str(folder.resolve() / "ray_train"),
            failure_config=FailureConfig(max_failures=max_failures),
            callbacks=[HasRoom(RoomWatch(need, wait_for_nodes_s))],  # type: ignore[list-item]  # typed as Ray 2.9's
        ),
    )
    try:
        with interruptible():
            trainer.fit()
    except Exception as cause:
        if isinstance(short := getattr(cause, "controller_failure", None), ClusterError):
            raise short from None
        raise
