"""Rows of a Ray dataset as they are finished."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["arriving"]


def arriving(dataset: "Dataset") -> Iterator[list[dict[str, Any]]]:
    """The rows of each block the moment it is there, so that a kill loses only blocks still being worked on."""
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        rows: list[dict[str, Any]] = table.to_pylist()  # type: ignore[union-attr]  # pyarrow was asked for
        yield rows
