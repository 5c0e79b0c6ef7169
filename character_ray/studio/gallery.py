"""A folder of constitutions. Saving never overwrites what its writer has not seen, and the version before is kept.

constitutions/<name>.yaml                     the current version
<data>/versions/<name>/<time>-<hash>.yaml     earlier ones
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from character_ray.constitution import Constitution
from character_ray.errors import StudioError
from character_ray.studio.checking import check_text, read_text
from character_ray.studio.folders import inside
from character_ray.whole_files import write_text

__all__ = ["Conflict", "Gallery", "Saved"]


class Conflict(StudioError):
    """The file is not what the writer saw."""


@dataclass(frozen=True)
class Saved:
    """A constitution's text as it lies on the disk."""

    name: str
    text: str

    @property
    def hash(self) -> str:
        """Tells one text of a file from another."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


class Gallery:
    """The constitutions of a folder, and their earlier versions."""

    def __init__(self, folder: Path, versions: Path) -> None:
        self.folder, self._versions = folder, versions

    def names(self) -> list[str]:
        """Names without ``.yaml``."""
        return sorted(
            path.stem for path in self.folder.glob("*.yaml") if path.is_file() and not path.name.startswith(".")
        )

    def cards(self) -> list[dict[str, Any]]:
        """Every file: its persona and score, or how many problems it has."""
        return [self._card(name) for name in self.names()]

    def load(self, name: str, version: str = "") -> Saved:
        """The current text, or an earlier one.

        Raises:
            StudioError: There is no such file, or it is not text.
        """
        path = inside(self.folder, name, ".yaml")
        if version:
            path = inside(inside(self._versions, name), version, ".yaml")
        try:
            return Saved(name, path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StudioError(
                f"{self.folder} has no constitution {name!r}{f' of {version}' if version else ''}."
            ) from None
        except (OSError, UnicodeDecodeError) as cause:
            raise StudioError(f"{path.name} cannot be read as UTF-8 text ({cause}).") from cause

    def constitution(self, name: str, version: str = "") -> Constitution:
        """A valid constitution of the folder.

        Raises:
            StudioError: It is missing or not valid.
        """
        constitution, problems = read_text(self.load(name, version).text)
        if constitution is None:
            raise StudioError(
                f"{name} is not valid: {problems[0]}{' …' if len(problems) > 1 else ''} Open it and repair it first."
            )
        return constitution

    def versions(self, name: str) -> list[str]:
        """Names of the earlier versions, the latest first."""
        inside(self.folder, name)
        return sorted((path.stem for path in inside(self._versions, name).glob("*.yaml")), reverse=True)

    def save(self, name: str, text: str, seen: str) -> Saved:
        """Write a valid constitution.

        Args:
            name: Its file, without ``.yaml``.
            text: The new text.
            seen: Hash of the text that the writer began with; empty for a new file.

        Raises:
            Conflict: The file is there although it should be new, or is no longer what the writer began with.
            StudioError: The text is not a valid constitution, or the name cannot be used.
        """
        path = inside(self.folder, name, ".yaml")
        constitution, problems = read_text(text)
        if constitution is None:
            raise StudioError(f"not saved, because {len(problems)} problem(s) must be repaired first: {problems[0]}")
        new = Saved(name, text if text.endswith("\n") else text + "\n")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._versions.mkdir(parents=True, exist_ok=True)
        # Under the lock, so that two writers cannot both have a new name, or both replace what they began with.
        with FileLock(self._versions / ".lock"):
            if seen:
                self._keep_current(name, seen)
            elif path.exists():
                raise Conflict(
                    f"there is a {name}.yaml already, and it is not overwritten. Choose another name, or open it."
                )
            write_text(path, new.text)
        return new

    def _keep_current(self, name: str, seen: str) -> None:
        current = self.load(name)
        if current.hash != seen:
            raise Conflict(
                f"{name}.yaml was changed since you opened it, and that change is not overwritten. Save under another name, or open it "
                "again and compare."
            )
        folder = inside(self._versions, name)
        folder.mkdir(parents=True, exist_ok=True)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        (folder / f"{stamp}Z-{current.hash[:8]}.yaml").write_text(current.text, encoding="utf-8")

    def _card(self, name: str) -> dict[str, Any]:
        try:
            text = self.load(name).text
            found, (constitution, _) = check_text(text), read_text(text)
        except StudioError as error:
            return {"name": name, "valid": False, "problems": 1, "problem": str(error)}
        if constitution is None:
            first = found["problems"][0]
            return {"name": name, "valid": False, "problems": len(found["problems"]), "problem": first["message"]}
        return {
            "name": name,
            "valid": True,
            "persona": constitution.meta.name,
            "version": constitution.meta.version,
            "description": constitution.meta.description,
            "words": list(constitution.persona.voice.vocabulary[:6]),
            "examples": len(constitution.examples),
            "score": found["score"],
            "verdict": found["verdict"],
            "versions": len(self.versions(name)),
        }
