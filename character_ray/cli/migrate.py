"""``character-ray import``: a constitution of OpenCharacterTraining as one of ours."""

import json
from pathlib import Path
from typing import Annotated

import typer

from character_ray.constitution import score_constitution, to_yaml
from character_ray.errors import ConstitutionError
from character_ray.log import console
from character_ray.migration import read_traits

__all__ = ["import_traits"]


def import_traits(
    file: Annotated[Path, typer.Argument(help="JSON or JSONL with a trait, and perhaps questions, per entry.")],
    name: Annotated[str, typer.Option(help="The persona's name.")],
    output: Annotated[Path, typer.Option(help="YAML file to write; never overwritten.")],
) -> None:
    """Turn a constitution of OpenCharacterTraining into YAML, and its questions into prompts beside it."""
    questions = output.with_suffix(".prompts.jsonl")
    for path in (output, questions):
        if path.exists():
            raise ConstitutionError(f"{path} is there already and is never overwritten. Choose another --output.")
    imported = read_traits(file, name)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(to_yaml(imported.constitution, f"Imported from {file.name}."), encoding="utf-8")
    quality = score_constitution(imported.constitution)
    console.print(
        f"[green]{output}[/]: {len(imported.constitution.directives.personality)} traits, quality {quality.score:.2f}"
    )
    for loss in quality.losses:
        console.print(f"  -{loss.points:.2f} {loss.why} {loss.remedy}")
    if imported.prompts:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in imported.prompts]
        questions.write_text("".join(lines), encoding="utf-8")
        console.print(
            f"[green]{questions}[/]: {len(lines)} prompts. In the recipe: "
            f"prompts: {{sources: [{{path: {questions}, licence: ...}}]}}"
        )
