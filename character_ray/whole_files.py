"""Files and folders that appear whole: a reader sees the old one or the new one, never half of one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ["being_written", "folder_being_written", "is_being_written", "write_text"]

_ENDING = ".tmp"


@contextmanager
def being_written(path: Path) -> Iterator[Path]:
    """Yield a scratch file beside ``path`` that takes its place on leaving, or is removed on an error.

    Its name is this call's own, so any number of threads, processes and machines may write the same file at once: the last one
    to leave wins.
    """
    scratch = path.with_name(f".{path.name}.{uuid4().hex}{_ENDING}")
    try:
        yield scratch
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def folder_being_written(folder: Path) -> Iterator[Path]:
    """Yield a folder beside ``folder``, which must not be there, that takes its name on leaving, or is removed on an error."""
    scratch = folder.with_name(f".{folder.name}.{uuid4().hex}{_ENDING}")
    scratch.mkdir(parents=True)
    try:
        yield scratch
        os.rename(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def is_being_written(path: Path) -> bool:
    """Whether the path is such a scratch file or folder, of a writer at work or of one that was killed."""
    return path.name.startswith(".") and path.suffix == _ENDING


def write_text(path: Path, text: str) -> None:
    """Write a whole text file."""
    with being_written(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
