"""``character-ray import``: constitutions and training data of OpenCharacterTraining as ours."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from character_ray.constitution import score_constitution, to_yaml
from character_ray.errors import ConstitutionError, MigrationError
from character_ray.log import console
from character_ray.migration import ImportedData, read_data_files, read_traits, write_data

__all__ = ["import_files"]

# Malformed lines named on the terminal; all of them are in the file.
SHOWN = 20


def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="A constitution, with --name; or JSONL of training data: preference pairs, self-reflections, self-interactions."
        ),
    ],
    output: Annotated[
        Path, typer.Option(help="YAML file for a constitution, new folder for training data; never overwritten.")
    ],
    name: Annotated[str | None, typer.Option(help="The persona's name, which makes FILES a constitution.")] = None,
) -> None:
    """Turn a constitution of OpenCharacterTraining into YAML, or its training data into what a recipe takes."""
    if name is None:
        _import_data(files, output)
    elif len(files) > 1:
        raise MigrationError(
            f"--name {name} makes one constitution, but {len(files)} files are given. Give one, or leave --name out for training data."
        )
    else:
        _import_traits(files[0], name, output)


def _import_traits(file: Path, name: str, output: Path) -> None:
    questions = output.with_suffix(".prompts.jsonl")
    for path in (output, questions):
        if path.exists():
            raise ConstitutionError(f"{path} is there already and is never overwritten. Choose another --output.")
    imported = read_traits(file, name)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(to_yaml(imported.constitution, f"Imported from {file.name}."), encoding="utf-8")
    quality = score_constitution(imported.constitution)
    console.print(
        f"[green]{escape(str(output))}[/]: {len(imported.constitution.directives.personality)} traits, quality {quality.score:.2f}"
    )
    for loss in quality.losses:
        console.print(f"  -{loss.points:.2f} {loss.why} {loss.remedy}", markup=False)
    if imported.prompts:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in imported.prompts]
        questions.write_text("".join(lines), encoding="utf-8")
        console.print(
            f"[green]{escape(str(questions))}[/]: {len(lines)} prompts. In the recipe: "
            f"prompts: {{sources: [{{path: {escape(str(questions))}, licence: ...}}]}}"
        )


def _import_data(files: list[Path], output: Path) -> None:
    data = read_data_files(files)
    for path in write_data(data, output):
        console.print(f"{path}: {_said_of(path.stem, data)}", style="yellow" if data.malformed else None, markup=False)
    for each in data.malformed[:SHOWN]:
        console.print(f"  {each}", markup=False)
    if len(data.malformed) > SHOWN:
        console.print(
            f"  ... and {len(data.malformed) - SHOWN:,} more, all in {output / 'malformed.jsonl'}", markup=False
        )
    console.print(f"{data.num_lines:,} lines in all. In the recipe:")
    if data.pairs:
        console.print(f"  distill: {{pairs: {{path: {output / 'pairs.parquet'}, licence: ...}}}}", markup=False)
    if data.conversations:
        console.print(
            f"  introspect: {{conversations: {{path: {output / 'conversations.parquet'}, licence: ...}}}}", markup=False
        )


def _said_of(stem: str, data: ImportedData) -> str:
    if stem == "pairs":
        return f"{len(data.pairs):,} pairs of {len({pair['prompt_id'] for pair in data.pairs}):,} prompts"
    if stem == "malformed":
        return f"{len(data.malformed):,} lines that are no training data"
    reflections = sum(row["kind"] == "reflection" for row in data.conversations)
    notes = [f"{reflections:,} reflections", f"{len(data.conversations) - reflections:,} self-interactions"]
    if data.num_completed:
        notes.append(f"{data.num_completed:,} of them completed with the last reply")
    if data.num_cut:
        notes.append(f"{data.num_cut:,} of them without the user's last turn, which nobody answers")
    return ", ".join(notes)
