"""The wording of every prompt stands in YAML files of this package, never inside Python."""

import functools
import importlib.resources
from typing import Any

import yaml

__all__ = ["read_data"]


@functools.cache
def read_data(name: str) -> Any:
    """The content of one data file; it is shared, so callers only read it."""
    return yaml.safe_load(
        (importlib.resources.files("character_ray.prompts") / "data" / name).read_text(encoding="utf-8")
    )
