"""How many adapters a replica's engine computes in one step, and how many it holds in memory."""

from pathlib import Path

from character_ray.config import EngineConfig, ServeConfig
from character_ray.errors import ModelError
from character_ray.model_shape import read_shape
from character_ray.vllm_options import LORA_TARGETS

__all__ = ["adapter_slots"]

FEWEST, MOST = 4, 16
SHARE, ROOM = 1 / 3, 4 * 2**30
"""What all slots may take of a GPU: a share of the bytes of the base there, or as many bytes if that is more."""
LORA_BYTES = 2
"""Of one parameter of an adapter."""


def adapter_slots(
    serve: ServeConfig, engine: EngineConfig, base: Path, size: int, personas: int, *, followed: bool
) -> tuple[int, int]:
    """Different adapters in one step, and adapters in memory.

    vLLM does not start a request whose adapter finds no slot, while requests to the adapters that have one go on starting: with fewer
    slots than personas asked for at a time, many wait and few are in a step. So there is a slot for each persona, as far as
    the slots leave room for keys and values.

    Args:
        serve: ``max_loras`` and ``max_cpu_loras``.
        engine: Its number format and the GPUs it spreads over.
        base: Folder of the base model.
        size: Rank of a slot (:func:`~character_ray.vllm_options.lora_size` of the largest adapter's).
        personas: How many there are now.
        followed: More may come, and two versions of one answer side by side while requests to the older end.
    """
    slots = serve.max_loras or min(_slots_with_room(engine, base, size), serve.max_cpu_loras)
    slots = max(slots, 2) if followed else min(slots, personas)
    return slots, max(slots, serve.max_cpu_loras if followed else min(serve.max_cpu_loras, personas))


def _slots_with_room(engine: EngineConfig, base: Path, size: int) -> int:
    """Slots that fit; of a model of a kind whose shape is not read, few.

    A slot is counted whole on every GPU: vLLM keeps half of its matrices whole there.
    """
    try:
        shape = read_shape(base)
    except (ModelError, OSError):
        return FEWEST
    weights = shape.weight_bytes(engine.dtype) / (engine.tensor_parallel * engine.pipeline_parallel)
    slot = LORA_BYTES * shape.lora(size, tuple(LORA_TARGETS)) / engine.pipeline_parallel
    return max(FEWEST, min(MOST, int(max(SHARE * weights, ROOM) / slot)))
