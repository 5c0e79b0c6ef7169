"""Tokens per second of a training, and the share of the hardware's multiplications that a plain training would take for them (MFU).

Counted is what the algorithm asks for, not what is computed: both sides of a pair with their prompt, read once forward and once backward by
the policy and once by the reference. A prompt that is read once for both sides and a reference whose answers are kept save work that is
counted all the same, so the figures of two trainings on the same data compare their time, and MFU may be higher than the device's own
counters say, even above 1. Padding, activations computed again, an on-policy student's sampling, attention and adapter are not counted.
"""

from pathlib import Path

from character_ray.errors import ModelError
from character_ray.model_shape import read_shape
from character_ray.roofline import GPUS

__all__ = ["Throughput", "flops_per_token"]


def flops_per_token(base: Path, readings: int) -> float | None:
    """Multiplications and additions that one token costs in a LoRA training, those of attention and adapter left out.

    Args:
        base: Folder of the model.
        readings: Products with the model's weights: one forward, one backward to the activations, one for a reference model, kept or not.

    Returns:
        ``None`` where the model's shape cannot be read.
    """
    try:
        shape = read_shape(base)
    except ModelError:
        return None
    return 2.0 * readings * (shape.blocks_at_work + shape.embedding)


class Throughput:
    """What lies between one logged step and the next.

    Args:
        per_token: Of :func:`flops_per_token`; ``None`` leaves MFU out.
        device: Name of each worker's GPU, as torch gives it; one that is not in the table of :mod:`character_ray.roofline`, and a CPU's
            empty name, leave MFU out.
        workers: Data-parallel workers.
    """

    def __init__(self, per_token: float | None, device: str, workers: int) -> None:
        known = [gpu.flops for key, gpu in GPUS.items() if key.upper() in device.upper()]
        self._peak = known[0] * workers if known else None
        self._per_token = per_token
        self._last: tuple[float, float] | None = None

    def step(self, num_tokens: float, elapsed_s: float) -> dict[str, float]:
        """``tokens_per_s`` and ``mfu`` of this step; nothing for the first, whose beginning nobody saw.

        Args:
            num_tokens: Tokens of the data so far, of all workers; a pair's prompt counts on both sides.
            elapsed_s: Seconds since this process began to train.
        """
        last, self._last = self._last, (num_tokens, elapsed_s)
        if last is None or elapsed_s <= last[1]:
            return {}
        rate = (num_tokens - last[0]) / (elapsed_s - last[1])
        found = {"tokens_per_s": round(rate, 1)}
        if self._peak and self._per_token:
            found["mfu"] = round(rate * self._per_token / self._peak, 4)
        return found
