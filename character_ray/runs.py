"""Run folders and the store of stage results they point into.

    output/store/<stage>-<hash>/     inputs.json · parts or files · done.json
    output/<run>/                    run.json · one link per stage · report.json · report.html

A stage's folder is named by the hash of everything that made it, so the same work is found again by the next attempt and by
other runs. ``done.json`` is written last: a folder without it is unfinished, and what lies in it is continued.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from character_ray.errors import ResumeError
from character_ray.rows import content_hash
from character_ray.whole_files import being_written, is_being_written, write_text

__all__ = ["Artefact", "Run", "Store", "describe_changes", "read_summary", "write_json"]


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of one."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


@dataclass(frozen=True)
class Artefact:
    """The folder of one stage's result."""

    stage: str
    folder: Path
    inputs: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Hash of what made it; the inputs of later stages contain it."""
        return self.folder.name.rpartition("-")[2]

    @property
    def is_done(self) -> bool:
        """Whether the stage finished."""
        return (self.folder / "done.json").is_file()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the stage said of itself when it finished.

        Raises:
            ResumeError: A file the stage wrote is missing or has another size.
        """
        done: dict[str, Any] = json.loads((self.folder / "done.json").read_text(encoding="utf-8"))
        for name, size in done["files"].items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise ResumeError(
                    f"{path} is missing or damaged, though the stage {self.stage!r} once finished. "
                    f"Delete {self.folder} and run again: the stage is then made anew."
                )
        summary: dict[str, Any] = done["summary"]
        return summary

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the stage as finished; nothing in the folder may change afterwards."""
        files = {
            str(path.relative_to(self.folder)): path.stat().st_size
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name not in ("inputs.json", "done.json", ".lock") and not is_being_written(path)
        }
        write_json(self.folder / "done.json", {"summary": summary, "files": files, "finished": time.time()})

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the folder while working in it, so that two runs never make the same thing twice at once."""
        from filelock import FileLock

        with FileLock(self.folder / ".lock"):
            yield

    @contextmanager
    def making(self) -> Iterator[bool]:
        """Hold the folder and say whether its files are still to be made: another run may have made them in the meantime."""
        with self.claim():
            yield not self.is_done


class Store:
    """All stage results below one folder, addressed by content hash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def artefact(self, stage: str, inputs: dict[str, Any]) -> Artefact:
        """The folder for a stage with these inputs, made if it is not there."""
        folder = self.folder / f"{stage}-{content_hash(stage, inputs)}"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "inputs.json").is_file():
            write_json(folder / "inputs.json", inputs)
        return Artefact(stage, folder, inputs)


class Run:
    """A named run: its recipe, and a link to the result of each of its stages."""

    def __init__(self, folder: Path, recipe: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.stages: dict[str, dict[str, Any]] = {}
        self._previous = self._load()
        self._recipe = recipe

    def _load(self) -> dict[str, Any]:
        path = self.folder / "run.json"
        if not path.is_file():
            return {}
        try:
            previous: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as cause:
            raise ResumeError(
                f"{path} is not readable JSON ({cause}). Delete it; stage results are kept in the store."
            ) from None
        stages = previous.get("stages", {}) if isinstance(previous, dict) else None
        whole = isinstance(stages, dict) and all(
            isinstance(each, dict) and {"artefact", "inputs"} <= each.keys() for each in stages.values()
        )
        if not whole:
            raise ResumeError(
                f"{path} does not say which result belongs to which stage, as a run writes it. Delete it; stage results are kept in "
                "the store."
            )
        return previous

    def changes(self, artefact: Artefact) -> list[str]:
        """What differs from the inputs this run's stage was last made with; empty when it is new or the same."""
        before = self._previous.get("stages", {}).get(artefact.stage)
        if before is None or before["artefact"] == artefact.folder.name:
            return []
        return describe_changes(before["inputs"], artefact.inputs)

    def link(self, artefact: Artefact) -> None:
        """Let the run's name for the stage point to its result."""
        self.stages[artefact.stage] = {"artefact": artefact.folder.name, "inputs": artefact.inputs}
        link = self.folder / artefact.stage
        with being_written(link) as scratch:
            scratch.symlink_to(os.path.relpath(artefact.folder, self.folder), target_is_directory=True)
        stages = {**self._previous.get("stages", {}), **self.stages}
        write_json(self.folder / "run.json", {"recipe": self._recipe, "stages": stages})


def read_summary(folder: Path) -> dict[str, Any]:
    """What a finished stage said of itself.

    Raises:
        ResumeError: A file the stage wrote is missing or has another size.
    """
    return Artefact(folder.name, folder, {}).summary


def describe_changes(before: Any, after: Any, name: str = "") -> list[str]:
    """``dpo.lora.rank was 8, is 16`` for every leaf that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [
            change
            for key in keys
            for change in describe_changes(before.get(key), after.get(key), f"{name}.{key}" if name else str(key))
        ]
    before, after = (json.loads(json.dumps(value, default=str)) for value in (before, after))
    if before == after:
        return []
    # A hash tells a reader nothing but that it is another.
    return [f"{name} changed" if _is_hash(before) and _is_hash(after) else f"{name} was {before}, is {after}"]


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16,64}", value) is not None
