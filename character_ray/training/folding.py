"""An adapter folded into a copy of its base, and the proof of what the copy says.

    base + adapter, beside each other   ==   one set of weights, summed in float32   ~   the same, rounded to what is written

The two sides of the first sign are compared by their logits, and differ by the order of additions alone. What rounding adds is measured.
"""

from dataclasses import dataclass
from pathlib import Path

from character_ray.errors import AdapterError
from character_ray.threads import few_threads
from character_ray.training.algebra import fold, merged
from character_ray.training.logits import TOLERANCE, adapted_logits, text_logits
from character_ray.whole_files import folder_being_written

__all__ = ["DTYPES", "Folded", "fold_and_compare"]

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Folded:
    """How far a folded model is from its base with the adapter beside it, as largest absolute difference of a logit."""

    before_rounding: float
    written: float
    """Of the model as it was written, rounded to its number format; computed in float32."""
    largest_logit: float
    """Largest absolute logit of base and adapter, for scale."""


@few_threads()
def fold_and_compare(base: Path, adapter: Path, folder: Path, dtype: str) -> Folded:
    """Write a copy of the base with the adapter added to its weights, and compare what both say.

    Args:
        base: Folder of the base model.
        adapter: PEFT folder.
        folder: New model folder.
        dtype: One of :data:`DTYPES`.

    Raises:
        AdapterError: The folder is there, the number format is not known, or the sum is not what was asked for.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if folder.exists():
        raise AdapterError(f"{folder} is there already, and nothing is overwritten. Name a new folder.")
    if dtype not in DTYPES:
        raise AdapterError(
            f"{dtype!r} is no number format that a model is written in here. Choose from {', '.join(DTYPES)}."
        )
    wanted = adapted_logits(base, adapter)
    exact = float((text_logits(merged(base, adapter), base) - wanted).abs().max())
    if not exact <= TOLERANCE:
        raise AdapterError(
            f"{folder}: its logits would differ by {exact:.2g} from those of base and adapter beside each other, more than {TOLERANCE}, "
            "before anything is rounded, so it was not written. Report this."
        )
    with folder_being_written(folder) as made:
        fold(base, adapter, made, dtype)
        written = text_logits(AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32), base)
    return Folded(exact, float((written - wanted).abs().max()), float(wanted.abs().max()))
