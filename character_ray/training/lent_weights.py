"""One copy of a base model's weights on a GPU for all trainings that book a part of it.

A named actor on the GPU's node holds the copy and lends it out: a training maps the same memory into its own process (CUDA IPC) and
only reads it. The actor belongs to no run, since whichever training came first may be the first to end; it ends by itself once none
of the processes it has lent to is alive.
"""

import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from character_ray.errors import TrainingError
from character_ray.models import model_hash

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["NAMESPACE", "WeightsHolder", "borrow"]

NAMESPACE = "character-ray"
"""Ray namespace of the holders, so that every job on a cluster finds them."""

IDLE_S = 20.0
"""How long a holder waits for another training after the last one has ended."""

_TRIES = 3


def borrow(model: "PreTrainedModel", base: Path, precision: str, options: dict[str, Any]) -> None:
    """Let the parameters of ``model`` be the copy of them that this process's GPU holds; the first to ask has it loaded.

    Args:
        model: As ``from_pretrained`` returned it, on the CPU; its buffers stay its own.
        base: Folder it was loaded from.
        precision: Its number format.
        options: Further arguments that it was loaded with.

    Raises:
        TrainingError: The copy does not have the same parameters, or could not be had.
    """
    import ray
    import torch
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    device = torch.cuda.get_device_properties(torch.cuda.current_device())
    copy = f"{model_hash(base)}:{precision}:{json.dumps(options, sort_keys=True, default=str)}:{device.uuid}"
    name = f"weights-{hashlib.sha256(copy.encode()).hexdigest()[:16]}"
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    holders: Any = ray.remote(num_cpus=0)(WeightsHolder).options(
        name=name, namespace=NAMESPACE, get_if_exists=True, lifetime="detached", scheduling_strategy=here
    )
    for attempt in range(1, _TRIES + 1):
        try:
            lent = ray.get(holders.remote(base, precision, options, str(device.uuid)).lend.remote(os.getpid()))
            break
        except ray.exceptions.RayActorError as ended:  # between two trainings it may just have ended
            if attempt == _TRIES:
                raise TrainingError(
                    f"{base}: no process could hold its weights for the trainings of GPU {device.uuid} ({ended}). Leave "
                    "train.share_base out, so that each training loads its own."
                ) from ended
            time.sleep(1)
    adopt(model, {each: rebuild(*arguments) for each, (rebuild, arguments) in lent.items()})


def adopt(model: "PreTrainedModel", weights: "dict[str, torch.Tensor]") -> None:
    """Let the parameters of ``model`` be ``weights``.

    Raises:
        TrainingError: Names, shapes or number formats differ.
    """
    own = dict(model.named_parameters())
    differ = sorted(own.keys() ^ weights.keys()) or [
        name for name in own if (own[name].shape, own[name].dtype) != (weights[name].shape, weights[name].dtype)
    ]
    if differ:
        raise TrainingError(
            f"the weights that the trainings of a GPU share are not those of this model: {', '.join(differ[:3])} "
            f"({len(differ)} in all) differ. Leave train.share_base out."
        )
    for name, parameter in own.items():
        parameter.data = weights[name]
        parameter.requires_grad_(False)


class WeightsHolder:
    """The actor that holds one copy on one GPU.

    Args:
        base: Folder of the model.
        precision: Number format to hold it in.
        options: Further arguments of ``from_pretrained``.
        gpu: UUID of the GPU.
        idle_s: How long to wait for another training after the last one has ended.
    """

    def __init__(self, base: Path, precision: str, options: dict[str, Any], gpu: str, idle_s: float = IDLE_S) -> None:
        # Ray shows an actor that books no GPU none, or all of them.
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu if gpu.startswith("GPU-") else f"GPU-{gpu}"
        self._weights = self.load(base, precision, options)
        self._borrowers: dict[int, float] = {}
        threading.Thread(target=self._end_when_idle, args=(idle_s,), daemon=True).start()

    def load(self, base: Path, precision: str, options: dict[str, Any]) -> "dict[str, torch.Tensor]":
        """The parameters, on the GPU."""
        import torch
        from transformers import AutoModelForCausalLM

        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, precision), **options)
        return {name: parameter.detach() for name, parameter in model.to("cuda").named_parameters()}

    def lend(self, pid: int) -> dict[str, tuple[Any, tuple[Any, ...]]]:
        """How the process ``pid`` of this node maps each parameter: a function of PyTorch's and its arguments."""
        from torch.multiprocessing.reductions import reduce_tensor

        self._borrowers[pid] = psutil.Process(pid).create_time()
        return {name: reduce_tensor(weight) for name, weight in self._weights.items()}

    def _end_when_idle(self, idle_s: float) -> None:
        import ray

        used = time.monotonic()
        while time.monotonic() - used < idle_s:
            time.sleep(min(idle_s / 4, 1))
            if any(_is_alive(pid, born) for pid, born in list(self._borrowers.items())):
                used = time.monotonic()
        ray.kill(ray.get_runtime_context().current_actor)  # an end that Ray does not report as a crash


def _is_alive(pid: int, born: float) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
