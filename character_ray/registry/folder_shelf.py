"""A registry in a folder, which may lie on a network disk."""

import os
import shutil
from pathlib import Path

from character_ray.adapters import load_manifest
from character_ray.errors import AdapterError, RegistryError
from character_ray.manifest import Manifest
from character_ray.models import build_once
from character_ray.registry.shelf import FILES, Edit
from character_ray.whole_files import write_text

__all__ = ["FolderShelf"]


class FolderShelf:
    """A folder; made when something is first published. Who changes a record holds a lock file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Slugs of all records.

        Raises:
            RegistryError: The folder is not there, as when its storage is not mounted.
        """
        try:
            names = os.listdir(self.folder / "personas")
        except OSError as cause:
            raise RegistryError(
                f"{self.folder} cannot be read ({cause.strerror}). Publish a run first, or mount its storage."
            ) from None
        return sorted(name.removesuffix(".json") for name in names if name.endswith(".json") and name[0] != ".")

    def read(self, slug: str) -> str | None:
        """A record; ``None`` if there is none.

        Raises:
            RegistryError: It cannot be read.
        """
        return _text(self._path(slug), "Restore it; the adapters lie beside it.")

    def look(self) -> dict[str, str | Exception]:
        """Every record, or why it cannot be read, by slug."""
        found: dict[str, str | Exception] = {}
        for slug in self.names() if (self.folder / "personas").is_dir() else ():
            try:
                text = self.read(slug)
            except RegistryError as error:
                found[slug] = error
            else:
                if text is not None:
                    found[slug] = text
        return found

    def change(self, slug: str, edit: Edit) -> None:
        """Replace a record as a whole; others who change it wait."""
        from filelock import FileLock

        path = self._path(slug)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            write_text(path, edit(self.read(slug)))

    def adapter(self, weights_hash: str) -> Path:
        """Folder of a published adapter."""
        return self.folder / "adapters" / weights_hash

    def manifest(self, weights_hash: str) -> Manifest:
        """Manifest of a published adapter, whose files are checked against it.

        Raises:
            AdapterError: It is missing or damaged.
        """
        return load_manifest(self.adapter(weights_hash))

    def store(self, adapter: Path, weights_hash: str) -> None:
        """Copy an adapter to where its hash names it, unless it is there whole.

        Raises:
            AdapterError: It changed while it was copied.
        """

        def copy(folder: Path) -> None:
            for name in FILES:
                shutil.copyfile(adapter / name, folder / name)
            load_manifest(folder)  # what was copied is what was checked

        (self.folder / "adapters").mkdir(parents=True, exist_ok=True)
        try:
            if self.adapter(weights_hash).is_dir():
                load_manifest(self.adapter(weights_hash))
        except AdapterError:
            shutil.rmtree(self.adapter(weights_hash))
        build_once(self.adapter(weights_hash), copy)

    def report(self, weights_hash: str) -> str | None:
        """The report that is kept of a published adapter; ``None`` if there is none.

        Raises:
            RegistryError: It cannot be read.
        """
        return _text(self.folder / "reports" / f"{weights_hash}.json", "Publish the run again.")

    def keep_report(self, weights_hash: str, text: str) -> None:
        """Keep a report, in place of an earlier one."""
        (self.folder / "reports").mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "reports" / f"{weights_hash}.json", text)

    def policy(self) -> str | None:
        """The registry's policy; ``None`` if there is none.

        Raises:
            RegistryError: It cannot be read.
        """
        return _text(self.folder / "policy.json", "Write it anew.")

    def keep_policy(self, text: str) -> None:
        """Keep a policy, in place of an earlier one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "policy.json", text)

    def _path(self, slug: str) -> Path:
        return self.folder / "personas" / f"{slug}.json"


def _text(path: Path, remedy: str) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as cause:
        raise RegistryError(f"{path} cannot be read ({cause}). {remedy}") from cause
