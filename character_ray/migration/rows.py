"""Imported rows as a recipe names them: read back, and held against what a stage reads."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from character_ray.config import Recipe
from character_ray.errors import RecipeError
from character_ray.parts import read_rows
from character_ray.rows import CONVERSATION, PAIR, Conversation, Pair

__all__ = ["brought_rows", "load_conversations", "load_pairs"]


def brought_rows(recipe: Recipe) -> tuple[list[Pair], list[Conversation]]:
    """The pairs and the conversations that a recipe takes from elsewhere; empty where it generates its own.

    Raises:
        RecipeError: There is no such file, or it holds other rows.
    """
    pairs, conversations = recipe.distill.pairs, recipe.introspect.conversations
    return (
        load_pairs(pairs.path) if pairs else [],
        load_conversations(conversations.path) if conversations else [],
    )


def load_pairs(path: Path) -> list[Pair]:
    """The pairs of ``distill.pairs``.

    Raises:
        RecipeError: There is no such file, or it does not hold pairs.
    """
    return _load(path, PAIR, "distill.pairs")


def load_conversations(path: Path) -> list[Conversation]:
    """The conversations of ``introspect.conversations``.

    Raises:
        RecipeError: There is no such file, or it does not hold conversations.
    """
    return _load(path, CONVERSATION, "introspect.conversations")


def _load(path: Path, schema: pa.Schema, key: str) -> list[Any]:
    remedy = "Give the file that character-ray import wrote."
    if not path.is_file():
        raise RecipeError(f"{key}.path={path} does not exist (looked from {Path.cwd()}). {remedy}")
    try:
        rows = read_rows(path)
    except pa.ArrowInvalid as cause:
        raise RecipeError(f"{key}.path={path} is no Parquet file ({cause}). {remedy}") from cause
    if not rows:
        raise RecipeError(f"{key}.path={path} has no rows. {remedy}")
    missing = [name for name in schema.names if name not in rows[0]]
    if missing:
        raise RecipeError(f"{key}.path={path} has no column {', '.join(missing)}. {remedy}")
    return rows
