"""Whether a model can be split as a recipe asks, known before an engine or a training starts."""

import json
from pathlib import Path

from character_ray.config import EngineConfig
from character_ray.errors import RecipeError

__all__ = ["check_split"]


def check_split(section: str, engine: EngineConfig, model: Path) -> None:
    """Check tensor and pipeline parallelism against the shape of a model.

    Args:
        section: Name of the engine's section, for the error.
        engine: How the model is split.
        model: Folder with ``config.json``.

    Raises:
        RecipeError: The heads cannot be spread over ``tensor_parallel`` GPUs, or there are fewer layers than ``pipeline_parallel``.
    """
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config", config)  # models that also see keep their language part apart
    heads, layers = config.get("num_attention_heads"), config.get("num_hidden_layers")
    kv_heads = config.get("num_key_value_heads") or heads
    if heads and not _fits(engine.tensor_parallel, heads, kv_heads):
        fitting = [str(size) for size in range(1, heads + 1) if _fits(size, heads, kv_heads)]
        raise RecipeError(
            f"{section}.tensor_parallel={engine.tensor_parallel} cannot split the {heads} attention heads and {kv_heads} key-value heads "
            f"of {model.name}: every GPU must hold the same number of the former, and of the latter the same number or a copy of one. "
            f"Set it to one of {', '.join(fitting)}."
        )
    if layers and layers < engine.pipeline_parallel:
        raise RecipeError(
            f"{section}.pipeline_parallel={engine.pipeline_parallel} is more than the {layers} layers of {model.name}. "
            f"Set it to at most {layers}."
        )


def _fits(gpus: int, heads: int, kv_heads: int) -> bool:
    """Whether vLLM can spread the heads of a layer; where there are more GPUs than key-value heads, several hold the same one."""
    return heads % gpus == 0 and (kv_heads % gpus == 0 or gpus % kv_heads == 0)
