"""Whether an engine would apply an adapter as it was trained."""

from collections.abc import Collection
from pathlib import Path

from character_ray.adapter_tensors import check_shapes, tensor_shapes
from character_ray.adapters import adapter_config, adapter_rank
from character_ray.errors import AdapterError

__all__ = ["check_live"]

# vLLM reads one rank and one scale for the whole adapter, and applies nothing but A and B.
_UNUSUAL = ("rank_pattern", "alpha_pattern", "use_dora", "modules_to_save")


def check_live(folder: Path, name: str, targets: Collection[str] | None, base: Path | None = None) -> None:
    """Refuse an adapter of which a live engine would leave out a part, most of it without a word.

    Args:
        folder: PEFT folder of an adapter that passed its other checks.
        name: Whose it is, for the error.
        targets: ``lora_target_modules`` of the engine; ``None`` wraps every layer.
        base: Folder of the base, whose layers it must fit.

    Raises:
        AdapterError: It changes layers that the engine does not wrap, has more than one rank and one scale, or its weights are
            damaged or do not fit.
    """
    config = adapter_config(folder)
    unusual = [key for key in _UNUSUAL if config.get(key)]
    if unusual:
        raise AdapterError(
            f"{folder}: {name} uses {', '.join(unusual)}, which the engine would not apply, so "
            "another persona would answer. Fold it into the base, or train it with one rank and one scale."
        )
    tensors = tensor_shapes(folder / "adapter_model.safetensors")
    layers = {name.partition(".lora_")[0].rpartition(".")[2] for name in tensors}
    left_out = sorted(layers - set(targets)) if targets is not None else []
    if left_out:
        raise AdapterError(
            f"{folder}: {name} changes {', '.join(left_out)}, which the engine leaves as in the "
            "base, so another persona would answer. Add them to student_engine.vllm.lora_target_modules, or train without "
            "them (lora.target_modules)."
        )
    check_shapes(folder, name, adapter_rank(folder), base)
