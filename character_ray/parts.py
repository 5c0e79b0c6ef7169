"""Rows on disk as numbered Parquet parts, each complete or absent, so that an interrupted stage keeps what it has."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from character_ray.whole_files import being_written

__all__ = ["append_part", "read_parts", "read_rows", "write_rows"]


def append_part(folder: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write the rows as the next part."""
    number = len(list(folder.glob("part-*.parquet")))
    write_rows(folder / f"part-{number:05d}.parquet", rows, schema)


def read_parts(folder: Path) -> list[dict[str, Any]]:
    """All rows of all parts, in the order they were written."""
    return [row for path in sorted(folder.glob("part-*.parquet")) for row in read_rows(path)]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write one Parquet file, atomically."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    with being_written(path) as scratch:
        pq.write_table(table, scratch)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of one Parquet file."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows
