"""Publishing, promoting and rolling back adapters in a folder that several people and servers share.

    adapters/<weights hash>/    adapter_config.json · adapter_model.safetensors · manifest.json     never changed once written
    personas/<slug>.json        every version, and which one is live                                replaced as a whole

A reader sees the record before a change or after it, never between, and the adapter that a record names is there before the record.
"""

import getpass
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from character_ray.adapters import Manifest, load_manifest
from character_ray.canary import Canary
from character_ray.errors import AdapterError, RegistryError
from character_ray.manifest import AUTO
from character_ray.models import build_once
from character_ray.registry.entries import Entry, PersonaRecord, Status
from character_ray.runs import write_json

__all__ = ["Registry"]

# As a manifest's, and no longer than a file's name may be.
_SLUG = re.compile(r"(?=.{1,128}\Z)[a-z0-9]+(-[a-z0-9]+)*")
_FILES = ("adapter_config.json", "adapter_model.safetensors", "manifest.json")


class Registry:
    """A registry folder; made when something is first published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def records(self) -> list[PersonaRecord]:
        """Every persona, by name.

        Raises:
            RegistryError: A record is damaged.
        """
        return [self._load(path) for path in sorted((self.folder / "personas").glob("*.json"))]

    def slugs(self) -> list[str]:
        """Names of all personas.

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

    def record(self, slug: str) -> PersonaRecord:
        """One persona.

        Raises:
            RegistryError: There is none of that name, or its record is damaged.
        """
        path = self._path(slug)
        if not path.is_file():
            known = ", ".join(record.slug for record in self.records()) or "none"
            raise RegistryError(f"{self.folder} has no persona {slug!r}; it has {known}. Publish a run first.")
        return self._load(path)

    def adapter(self, entry: Entry) -> Path:
        """The folder of a version, checked against its hash.

        Raises:
            RegistryError: The folder is missing or was changed.
        """
        folder = self.folder / "adapters" / entry.weights_hash
        try:
            found = load_manifest(folder).weights_hash
        except AdapterError as cause:
            raise RegistryError(f"{folder}: {cause} The registry's copy is damaged; publish the run again.") from cause
        if found != entry.weights_hash:
            raise RegistryError(
                f"{folder} holds weights {found}, not those it is named by: somebody changed it. Publish the run again."
            )
        return folder

    def live(self) -> list[Path]:
        """The adapter of every persona that has a live version.

        Raises:
            RegistryError: A record or an adapter is damaged.
        """
        return [self.adapter(record.live) for record in self.records() if record.live is not None]

    def publish(
        self,
        adapter: Path,
        status: Status,
        *,
        run: str = "",
        ratings: dict[str, float] | None = None,
        gate: Sequence[str] = (),
        published_by: str = "",
        canary: Canary | None = None,
    ) -> PersonaRecord:
        """Copy an adapter into the registry and add it to its persona's versions; a live one takes the place of the last.

        Args:
            adapter: PEFT folder with a manifest.
            status: ``candidate`` or ``live``.
            run: Where it came from.
            ratings: Headline figures of its report.
            gate: Bounds it was held to, for the record.
            published_by: Who publishes; the user of this process by default.
            canary: What it answers; that of an earlier publication is kept where there is none.

        Raises:
            AdapterError: The adapter is damaged or unsafe.
            RegistryError: It belongs to another base model than the persona's other versions, or has a reserved name.
        """
        manifest = load_manifest(adapter)
        if manifest.slug == AUTO:
            raise RegistryError(
                f"{adapter}: the persona is named {AUTO}, which clients ask for who leave the choice to the server. "
                "Train it under another meta.name."
            )
        self._store(adapter, manifest)
        entry = Entry(
            weights_hash=manifest.weights_hash,
            status=status,
            published_by=published_by or getpass.getuser(),
            published_at=datetime.now(UTC).isoformat(timespec="seconds"),
            run=run,
            ratings=ratings or {},
            gate=list(gate),
            canary=canary,
        )
        with self._changing(manifest.slug, manifest.persona) as record:
            self._check_base(record, manifest, adapter)
            older = [each for each in record.versions if each.weights_hash != entry.weights_hash]
            same = [each.canary for each in record.versions if each.weights_hash == entry.weights_hash]
            if entry.canary is None and same:
                entry = entry.model_copy(update={"canary": same[0]})
            record.versions = [*(_demoted(each) if status == "live" else each for each in older), entry]
        return record

    def promote(self, slug: str, weights_hash: str) -> PersonaRecord:
        """Make a published version the live one; the beginning of its hash is enough.

        Raises:
            RegistryError: There is no such version, or several.
        """
        with self._changing(slug) as record:
            found = [entry for entry in record.versions if entry.weights_hash.startswith(weights_hash)]
            if len(found) != 1:
                versions = ", ".join(entry.weights_hash for entry in record.versions)
                raise RegistryError(
                    f"{slug} has {len(found)} versions whose hash begins with {weights_hash!r}; it has {versions}. Name one."
                )
            self.adapter(found[0])
            record.versions = [
                entry.model_copy(update={"status": "live"}) if entry is found[0] else _demoted(entry)
                for entry in record.versions
            ]
        return record

    def roll_back(self, slug: str) -> PersonaRecord:
        """Make the version live that was live before; candidates that never were are passed over.

        Raises:
            RegistryError: Nothing is live, or nothing came before.
        """
        record = self.record(slug)
        live = record.live
        if live is None:
            raise RegistryError(f"{slug} has no live version to roll back from. Promote one.")
        earlier = [each for each in record.versions[: record.versions.index(live)] if each.status == "retired"]
        if not earlier:
            raise RegistryError(
                f"{slug}: nothing was live before {live.weights_hash}, so there is nothing to roll back to."
            )
        return self.promote(slug, earlier[-1].weights_hash)

    def retire(self, slug: str) -> PersonaRecord:
        """Take a persona out of service; its versions stay.

        Raises:
            RegistryError: There is none of that name.
        """
        with self._changing(slug) as record:
            record.versions = [_demoted(entry) for entry in record.versions]
        return record

    def _store(self, adapter: Path, manifest: Manifest) -> None:
        def copy(folder: Path) -> None:
            for name in _FILES:
                shutil.copyfile(adapter / name, folder / name)
            load_manifest(folder)  # what was copied is what was checked

        (self.folder / "adapters").mkdir(parents=True, exist_ok=True)
        build_once(self.folder / "adapters" / manifest.weights_hash, copy)

    def _check_base(self, record: PersonaRecord, manifest: Manifest, adapter: Path) -> None:
        for entry in record.versions:
            other = load_manifest(self.folder / "adapters" / entry.weights_hash).base_model
            if other.hash != manifest.base_model.hash:
                raise RegistryError(
                    f"{adapter} was trained on {manifest.base_model.name} ({manifest.base_model.hash}), but the other versions of "
                    f"{manifest.slug} on {other.name} ({other.hash}), and one deployment serves one base. Use a registry of its own."
                )

    @contextmanager
    def _changing(self, slug: str, persona: str = "") -> Iterator[PersonaRecord]:
        """A persona's record, written back as a whole unless the block fails; others who change it wait."""
        from filelock import FileLock

        path = self._path(slug)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            record = self._load(path) if path.is_file() or not persona else PersonaRecord(slug=slug, persona=persona)
            yield record
            write_json(path, record.model_dump())

    def _path(self, slug: str) -> Path:
        if not _SLUG.fullmatch(slug):
            raise RegistryError(f"{slug[:120]!r} is not the name of a persona. Names are such as captain-blackwood.")
        return self.folder / "personas" / f"{slug}.json"

    def _load(self, path: Path) -> PersonaRecord:
        try:
            return PersonaRecord.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RegistryError(f"{self.folder} has no persona {path.stem!r}. Publish a run first.") from None
        except (OSError, ValidationError) as cause:
            raise RegistryError(f"{path} cannot be read ({cause}). Restore it; the adapters lie beside it.") from cause


def _demoted(entry: Entry) -> Entry:
    """A version that is no longer live; a candidate stays one."""
    return entry.model_copy(update={"status": "retired"}) if entry.status == "live" else entry
