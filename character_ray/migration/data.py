"""Files of OpenCharacterTraining's training data as the Parquet files that a recipe takes.

    *.jsonl -> pairs.parquet           recipe: distill.pairs
               conversations.parquet   recipe: introspect.conversations
               malformed.jsonl         {file, line, why, text}: every line that is none of these, word for word

Every line that is not blank ends in exactly one of the three files.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from character_ray.errors import MigrationError
from character_ray.migration.lines import NotARow, to_conversation, to_pair
from character_ray.parts import write_rows
from character_ray.rows import CONVERSATION, PAIR, Conversation, Pair, content_hash
from character_ray.whole_files import write_text

__all__ = ["ImportedData", "Malformed", "read_data_files", "write_data"]

# Columns of files that are not training data, and what to do with them.
_OTHER = {
    "trait": "this is a constitution: give --name, and a YAML file as --output",
    "response": "these are the teacher's answers before its data.py made pairs of them: give dpo/<model>/<persona>.jsonl",
}


@dataclass(frozen=True)
class Malformed:
    """A line that is no row of training data."""

    file: Path
    line: int
    """From 1."""
    why: str
    text: str
    """The line itself; what is not UTF-8 in it is escaped."""

    def __str__(self) -> str:
        """``file, line n: why``."""
        return f"{self.file}, line {self.line}: {self.why}"


@dataclass
class ImportedData:
    """What files of training data hold."""

    pairs: list[Pair] = field(default_factory=list)
    conversations: list[Conversation] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)
    num_lines: int = 0
    """Lines that are not blank."""
    num_completed: int = 0
    """Self-interactions whose last reply was put behind their ``messages``."""
    num_cut: int = 0
    """Self-interactions whose last user's turn was left out."""


def read_data_files(files: Sequence[Path]) -> ImportedData:
    """Read training data; what a line holds is told from its columns.

    Args:
        files: JSONL, whatever their suffix.

    Raises:
        MigrationError: A file cannot be read or is named twice, or no line of all is a row of training data.
    """
    repeated = next((file for number, file in enumerate(files) if file in files[:number]), None)
    if repeated is not None:
        raise MigrationError(f"{repeated} is named twice, so every row of it would be trained on twice. Name it once.")
    found = ImportedData()
    seen: dict[str, int] = {}
    for file in files:
        for number, raw in _lines(file):
            found.num_lines += 1
            try:
                _take(found, seen, _parsed(raw))
            except NotARow as why:
                found.malformed.append(Malformed(file, number, str(why), raw.decode("utf-8", "backslashreplace")))
    if not found.pairs and not found.conversations:
        first = str(found.malformed[0]) if found.malformed else f"{', '.join(map(str, files))}: no lines"
        raise MigrationError(
            f"{first}. None of the {found.num_lines:,} lines is training data. Give files of dpo, self_reflection, self_interaction or "
            "sft_data."
        )
    return found


def write_data(data: ImportedData, folder: Path) -> list[Path]:
    """Write what was read; returns the files.

    Args:
        data: What was read.
        folder: Where the files go; it must not exist, or be empty.

    Raises:
        MigrationError: The folder already holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MigrationError(f"{folder} is there already and nothing is overwritten. Name a new folder as --output.")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, rows, schema in (("pairs", data.pairs, PAIR), ("conversations", data.conversations, CONVERSATION)):
        if rows:
            written.append(folder / f"{name}.parquet")
            write_rows(written[-1], rows, schema)
    if data.malformed:
        written.append(folder / "malformed.jsonl")
        lines = [
            json.dumps(
                {"file": str(each.file), "line": each.line, "why": each.why, "text": each.text}, ensure_ascii=False
            )
            for each in data.malformed
        ]
        write_text(written[-1], "".join(f"{line}\n" for line in lines))
    return written


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with file.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                if raw.strip():
                    yield number, raw.rstrip(b"\r\n")
    except OSError as cause:
        raise MigrationError(f"{file} cannot be read: {cause.strerror}. Give a file of training data.") from cause


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        line = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as cause:
        raise NotARow(f"byte {cause.start + 1} is not UTF-8 ({cause.reason})") from cause
    except ValueError as cause:
        raise NotARow(f"not JSON ({cause})") from cause
    if not isinstance(line, dict):
        raise NotARow(f"holds {type(line).__name__}, not an object")
    return line


def _take(found: ImportedData, seen: dict[str, int], line: dict[str, Any]) -> None:
    if {"chosen", "rejected"} <= line.keys():
        pair = to_pair(line)
        pair["row_id"] = _own_id(pair["row_id"], seen)
        found.pairs.append(pair)
        return
    if "messages" in line:
        spoken = to_conversation(line)
        spoken.row["row_id"] = _own_id(spoken.row["row_id"], seen)
        found.conversations.append(spoken.row)
        found.num_completed += spoken.completed
        found.num_cut += spoken.cut
        return
    hint = next((f"; {what}" for column, what in _OTHER.items() if column in line), "")
    raise NotARow(f"has the columns {', '.join(line) or 'none'}, not chosen and rejected, nor messages{hint}")


def _own_id(row_id: str, seen: dict[str, int]) -> str:
    """An id that no other row has: of rows with the same texts every one after the first is told by its number."""
    number = seen[row_id] = seen.get(row_id, -1) + 1
    return content_hash(row_id, number) if number else row_id
