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
        RecipeError: The heads do not divide by ``tensor_parallel``, or there are fewer layers than ``pipeline_parallel``.
    """
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config", config)  # models that also see keep their language part apart
    heads, layers = config.get("num_attention_heads"), config.get("num_hidden_layers")
    if heads and heads % engine.tensor_parallel:
        fitting = [str(size) for size in range(1, heads + 1) if heads % size == 0]
        raise RecipeError(
            f"{section}.tensor_parallel={engine.tensor_parallel} does not divide the {heads} attention heads of {model.name}, and every "
            f"GPU must hold the same number. Set it to one of {', '.join(fitting)}."
        )
    if layers and layers < engine.pipeline_parallel:
        raise RecipeError(
            f"{section}.pipeline_parallel={engine.pipeline_parallel} is more than the {layers} layers of {model.name}. "
            f"Set it to at most {layers}."
        )
