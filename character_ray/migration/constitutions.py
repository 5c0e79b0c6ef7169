"""Constitutions of OpenCharacterTraining in this project's schema.

    [{trait, questions?, additional_questions?}, ...]  ->  constitution.yaml  +  prompts.jsonl {prompt, directive}

The file is a JSON list, or one object a line, as in that project's folders of constitutions. Traits become personality directives, word
for word; questions become prompts of the user's own (``prompts.sources``).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from character_ray.constitution import Constitution
from character_ray.constitution.schema import Directives, Meta, Persona
from character_ray.errors import ConstitutionError

__all__ = ["ImportedConstitution", "read_traits"]


@dataclass(frozen=True)
class ImportedConstitution:
    """What a file of traits became."""

    constitution: Constitution
    prompts: list[dict[str, str]]
    """``{prompt, directive}``, without repetitions, in the order of the file."""


def read_traits(path: Path, name: str) -> ImportedConstitution:
    """Read a constitution of OpenCharacterTraining.

    Args:
        path: The JSON or JSONL file, whatever its suffix.
        name: Name of the persona, which that format does not hold.

    Raises:
        ConstitutionError: The file cannot be read, or a row has no trait.
    """
    rows = _rows(path)
    traits = [_text(path, number, row.get("trait"), "trait") for number, row in enumerate(rows, start=1)]
    repeated = sorted({trait for trait in traits if traits.count(trait) > 1})
    if repeated:
        raise ConstitutionError(f"{path}: the trait {repeated[0]!r} stands there twice. Remove one of the two.")
    asked: dict[str, str] = {}
    for number, (row, trait) in enumerate(zip(rows, traits, strict=True), start=1):
        for key in ("questions", "additional_questions"):
            for question in row.get(key) or []:
                asked.setdefault(_text(path, number, question, key), trait)
    identity = f"You are {name}. Your character is your own and shows in everything you say, whatever you are asked."
    constitution = Constitution(
        meta=Meta(name=name, description=f"Imported from {path.name}"),
        persona=Persona(identity=identity),
        directives=Directives(personality=tuple(traits)),
    )
    return ImportedConstitution(
        constitution, [{"prompt": question, "directive": trait} for question, trait in asked.items()]
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise ConstitutionError(
            f"{path} cannot be read: {cause}. Give a constitution of OpenCharacterTraining."
        ) from cause
    try:
        rows = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(line) for line in text.splitlines() if line.strip()]
        )
    except ValueError as cause:
        raise ConstitutionError(
            f"{path}: not JSON ({cause}). It must hold a list of objects that have a trait, or one such object a line."
        ) from cause
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise ConstitutionError(f"{path}: holds no list of objects. Each must have a trait, and may have questions.")
    return rows


def _text(path: Path, number: int, value: Any, key: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConstitutionError(
            f"{path}, entry {number}: {key} holds {value!r}, not text. Mend the entry, or remove it."
        )
    return " ".join(value.split())
