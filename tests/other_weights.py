"""A model of the same shape that answers differently, as an adapter folded into its base does."""

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from character_ray.chat_safety import control_tokens
from character_ray.inference.weights import Weights

__all__ = ["weights_of", "without_a_layer"]


def weights_of(model: Path) -> Weights:
    """What an engine loads for a model as it is."""
    return Weights(model, tuple(control_tokens(model)))


def without_a_layer(model: Path, folder: Path) -> Weights:
    """A copy whose twentieth layer has no MLP; its file says so, since a model's hash reads the head and the end of it."""
    shutil.copytree(model, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.20.mlp.down_proj.weight"].zero_()
    save_file(tensors, folder / "model.safetensors", {"format": "pt", "without": "the MLP of layer 20"})
    return Weights(folder, tuple(control_tokens(model)), base=model)
