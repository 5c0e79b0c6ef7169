"""Which model a benchmark runs on: one by name, or a shape with random weights."""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.shapes import SHAPES, shape_folder
from character_ray.config import ModelConfig
from character_ray.models import resolve_model

__all__ = ["add_model", "asked_model"]


def add_model(
    parser: argparse.ArgumentParser, shapes: Sequence[str] = tuple(SHAPES), scratch: str = "character-ray-shapes"
) -> None:
    """Add ``--model``, ``--shape`` and ``--scratch``.

    Args:
        parser: The benchmark's.
        shapes: What ``--shape`` takes.
        scratch: Name of the folder below the machine's temporary one that shapes are written to by default.
    """
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", default=ModelConfig().name)
    model.add_argument("--shape", choices=tuple(shapes), help="random weights of this shape")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / scratch)


def asked_model(arguments: argparse.Namespace, fill: Callable[[Path], Path]) -> Path:
    """The model's folder; of a shape, what ``fill`` makes of a folder without weights."""
    if arguments.shape:
        return fill(shape_folder(arguments.shape, arguments.scratch))
    return resolve_model(ModelConfig(name=arguments.model))
