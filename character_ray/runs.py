"""Run folders and the store of stage results they point into.

    output/store/<stage>-<hash>/     inputs.json · parts or files · done.json
    output/<run>/                    run.json · one link per stage · report.json · report.html

A stage's folder is named by the hash of everything that made it, so the same work is found again by the next attempt and by
other runs. ``done.json`` is written last: a folder without it is unfinished, and what lies in it is continued. With a
:class:`~character_ray.mirror.Mirror` stages also reach machines that do not see this folder.
"""

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from character_ray.errors import ResumeError, StorageError
from character_ray.mirror import KEPT_HERE, Mirror
from character_ray.rows import content_hash
from character_ray.whole_files import being_written, is_being_written, write_text

__all__ = ["Artefact", "Run", "Store", "describe_changes", "read_summary", "write_json"]


logger = logging.getLogger(__name__)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of one."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


@dataclass(frozen=True)
class Artefact:
    """The folder of one stage's result."""

    stage: str
    folder: Path
    inputs: dict[str, Any]
    mirror: Mirror | None = None
    """Where other machines find it once it is finished; ``None`` if it stays on this storage."""

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
        """Mark the stage as finished, and send it to the mirror; nothing in the folder may change afterwards."""
        files = {
            str(path.relative_to(self.folder)): path.stat().st_size
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name not in KEPT_HERE and not is_being_written(path)
        }
        write_json(self.folder / "done.json", {"summary": summary, "files": files, "finished": time.time()})
        self.share()

    def share(self) -> None:
        """Send a finished stage that the mirror does not have. The work stays on this storage whatever becomes of it there.

        A mirror that fails now is a warning: the next run that wants the stage sends the rest of it.

        Raises:
            ResumeError: A file of the stage is missing or has another size.
        """
        if self.mirror is None:
            return
        _ = self.summary  # what is damaged here is not handed on
        try:
            if not self.mirror.has(self.folder.name):
                self.mirror.send(self.folder)
        except StorageError as error:
            logger.warning("%s is finished, but other machines do not see it yet: %s", self.folder.name, error)

    def obtain(self) -> bool:
        """Take an unfinished stage from the mirror, if it lies there finished and nobody here works on it; whether it was taken.

        Raises:
            ResumeError: It lies there damaged.
            StorageError: The mirror cannot be read.
        """
        if self.mirror is None or self.is_done:
            return False
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.folder / ".lock", timeout=0):
                return not self.is_done and self.mirror.fetch(self.folder)
        except Timeout:
            return False

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the folder while working in it, so that two runs never make the same thing twice at once."""
        from filelock import FileLock

        with FileLock(self.folder / ".lock"):
            # Another machine may have finished it since this one began to want it.
            if self.mirror is not None and not self.is_done:
                self.mirror.fetch(self.folder)
            yield

    @contextmanager
    def making(self) -> Iterator[bool]:
        """Hold the folder and say whether its files are still to be made: another run may have made them in the meantime."""
        with self.claim():
            yield not self.is_done


class Store:
    """All stage results below one folder, addressed by content hash.

    Args:
        folder: The folder.
        mirror: Where finished stages are sent to, and taken from.
    """

    def __init__(self, folder: Path, mirror: Mirror | None = None) -> None:
        self.folder, self.mirror = folder, mirror

    def artefact(self, stage: str, inputs: dict[str, Any], *, mirrored: bool = True) -> Artefact:
        """The folder for a stage with these inputs, made if it is not there, and filled if the mirror has the stage.

        Args:
            stage: Name of the stage.
            inputs: Everything that decides its result.
            mirrored: Whether other machines may want it; no for what is large and soon made anew.

        Raises:
            ResumeError: The mirror's copy is damaged.
            StorageError: The mirror cannot be read.
        """
        folder = self.folder / f"{stage}-{content_hash(stage, inputs)}"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "inputs.json").is_file():
            write_json(folder / "inputs.json", inputs)
        artefact = Artefact(stage, folder, inputs, self.mirror if mirrored else None)
        if artefact.is_done:
            artefact.share()
        else:
            artefact.obtain()
        return artefact


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
