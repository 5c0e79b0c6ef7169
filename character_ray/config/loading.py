"""Recipes and tournaments read from YAML, with ``key.sub=value`` overrides."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from character_ray.config.base import Config
from character_ray.config.recipe import Recipe
from character_ray.config.tournament import Tournament
from character_ray.documents import Document, explain, load_document
from character_ray.errors import RecipeError

__all__ = ["load_recipe", "load_tournament"]

C = TypeVar("C", bound=Config)


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file after its overrides, checked as a whole.

    Args:
        path: The YAML file.
        overrides: ``section.key=value`` items; the value is read as YAML, and they go through the same checks as the file.

    Raises:
        RecipeError: Every problem of the file and its overrides, each with line, field, value and remedy.
    """
    return _load(path, overrides, Recipe)


def load_tournament(path: Path | str, overrides: Sequence[str] = ()) -> Tournament:
    """The tournament in a YAML file after its overrides, as :func:`load_recipe` reads a recipe.

    Raises:
        RecipeError: Every problem of the file and its overrides, each with line, field, value and remedy.
    """
    return _load(path, overrides, Tournament)


def _load(path: Path | str, overrides: Sequence[str], kind: type[C]) -> C:
    document = load_document(Path(path), RecipeError)
    for item in overrides:
        document = _override(document, item)
    try:
        return kind.model_validate(document.data)
    except ValidationError as failure:
        raise RecipeError("\n".join(map(str, explain(failure, document, kind)))) from None


def _override(document: Document, item: str) -> Document:
    """The document with one ``a.b=value`` applied; its parents are copied, never shared."""
    key, separator, text = item.partition("=")
    parts = key.split(".")
    if not separator or not all(parts):
        raise RecipeError(f"override {item!r} is not of the form section.key=value, for instance dpo.lora.rank=16.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as cause:
        raise RecipeError(
            f"override {item!r}: the value is not valid YAML ({cause}). Quote it if it holds ':' or '['."
        ) from None
    data: dict[str, Any] = dict(document.data)
    section = data
    for part in parts[:-1]:
        child = section.get(part)
        if child is not None and not isinstance(child, dict):
            raise RecipeError(f"override {item!r}: {part!r} is a value, not a section, so it has no {parts[-1]!r}.")
        section[part] = dict(child or {})
        section = section[part]
    section[parts[-1]] = value
    return replace(document, data=data, overrides=(*document.overrides, (tuple(parts), item)))
