"""Prompts of the user's own: JSONL, Parquet, or a dataset of the hub at a fixed revision."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from character_ray.config import PromptSource
from character_ray.errors import RecipeError

__all__ = ["own_directives", "own_prompts"]

HUB = "hub:"


def own_prompts(source: PromptSource) -> list[str]:
    """The texts of a source, whitespace at the ends removed, repeated ones once, in the order of the file.

    Raises:
        RecipeError: The source does not exist, cannot be read, or has a row without text in the named column.
    """
    return list(own_directives(source))


def own_directives(source: PromptSource) -> dict[str, str]:
    """The texts of :func:`own_prompts`, each with what its row holds under ``directive``; ``""`` where that is no text.

    Raises:
        RecipeError: As for :func:`own_prompts`.
    """
    read = _hub if source.path.startswith(HUB) else _file
    texts: dict[str, str] = {}
    for number, row in enumerate(read(source), start=1):
        text = row.get(source.column)
        if not isinstance(text, str) or not text.strip():
            raise RecipeError(
                f"prompts.sources: {source.path}, row {number}: column {source.column!r} holds {text!r}, not text; the row has "
                f"the columns {', '.join(map(repr, row)) or 'none'}. Name the column of the prompts (column: ...), or mend the row."
            )
        directive = row.get("directive")
        texts.setdefault(text.strip(), directive.strip() if isinstance(directive, str) else "")
        if source.limit is not None and len(texts) == source.limit:
            break
    if not texts:
        raise RecipeError(f"prompts.sources: {source.path} has no rows. Leave the source out, or name the right file.")
    return texts


def _file(source: PromptSource) -> Iterator[dict[str, Any]]:
    path = Path(source.path)
    if not path.is_file():
        raise RecipeError(
            f"prompts.sources: {path} does not exist (looked from {Path.cwd()}). Give the path of a .jsonl or .parquet file, "
            f"or a dataset of the hub as {HUB}owner/name."
        )
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix in (".jsonl", ".ndjson"):
        yield from _jsonl(path)
    else:
        raise RecipeError(
            f"prompts.sources: {path} ends in {path.suffix or 'nothing'!r}; only .jsonl and .parquet are read. Convert the file."
        )


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise RecipeError(
                    f"prompts.sources: {path}, line {number}: byte {error.start + 1} is not UTF-8 ({error.reason}). Save the file as "
                    "UTF-8, for instance with iconv -f WINDOWS-1252 -t UTF-8."
                ) from error
            except ValueError as error:
                raise RecipeError(
                    f"prompts.sources: {path}, line {number}: not JSON ({error}). Each line must hold one object."
                ) from error
            if not isinstance(row, dict):
                raise RecipeError(
                    f"prompts.sources: {path}, line {number}: holds {type(row).__name__}, not an object. Each line must hold "
                    'one object, such as {"prompt": "..."}.'
                )
            yield row


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except Exception as error:
        raise RecipeError(f"prompts.sources: {path} is not a Parquet file ({error}).") from error
    for batch in file.iter_batches():
        yield from batch.to_pylist()


def _hub(source: PromptSource) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    name = source.path.removeprefix(HUB)
    try:
        yield from load_dataset(name, source.config or None, revision=source.revision, split=source.split)
    except Exception as error:
        raise RecipeError(
            f"prompts.sources: dataset {name!r} at revision {source.revision!r}, "
            + (f"configuration {source.config!r}, " if source.config else "")
            + f"split {source.split!r}, could not be loaded ({type(error).__name__}: {error}). Check name, config, revision and network, "
            "or download it and give the path of the file."
        ) from error
