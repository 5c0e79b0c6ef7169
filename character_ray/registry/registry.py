"""Publishing, promoting and rolling back adapters in a place that several people and servers share: a folder, or a bucket.

A reader sees a persona's record before a change or after it, never between, and the adapter that a record names is there before the
record.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from character_ray.adapters import Manifest, load_manifest
from character_ray.canary import Canary
from character_ray.errors import AdapterError, RegistryError
from character_ray.manifest import why_reserved
from character_ray.registry.bucket_shelf import BucketShelf
from character_ray.registry.changes import demoted, made_now, now, user
from character_ray.registry.entries import Change, Entry, PersonaRecord, Status
from character_ray.registry.folder_shelf import FolderShelf
from character_ray.registry.shelf import Shelf
from character_ray.s3 import S3Address, is_s3
from character_ray.yardstick import Yardstick

__all__ = ["Registry", "absolute_place"]

# As a manifest's, and no longer than a file's name may be.
_SLUG = re.compile(r"(?=.{1,128}\Z)[a-z0-9]+(-[a-z0-9]+)*")


def absolute_place(place: Path | str) -> str:
    """A registry's place as every process names it, whatever folder it works in."""
    return str(place) if is_s3(place) else str(Path(place).resolve())


class Registry:
    """A registry; made when something is first published.

    Args:
        place: A folder, or ``s3://bucket/prefix``.

    Raises:
        StorageError: The address of a bucket is not valid.
    """

    def __init__(self, place: Path | str) -> None:
        self.place = str(place)
        self.folder = None if is_s3(place) else Path(place)
        """The folder; ``None`` of a registry in a bucket."""
        self.shelf: Shelf = (
            BucketShelf(S3Address.parse(self.place)) if self.folder is None else FolderShelf(self.folder)
        )
        """Where it lies."""

    def records(self) -> list[PersonaRecord]:
        """Every persona, by name.

        Raises:
            RegistryError: A record is damaged.
            StorageError: The bucket cannot be read.
        """
        records = []
        for found in self.look().values():
            if isinstance(found, Exception):
                raise found
            records.append(found)
        return records

    def look(self) -> dict[str, PersonaRecord | Exception]:
        """Every persona, or why its record cannot be read, by name; cheap enough for looking again and again.

        Raises:
            StorageError: The bucket cannot be read.
        """
        found: dict[str, PersonaRecord | Exception] = {}
        for slug, text in self.shelf.look().items():
            try:
                found[slug] = text if isinstance(text, Exception) else self._parse(slug, text)
            except RegistryError as error:
                found[slug] = error
        return found

    def slugs(self) -> list[str]:
        """Names of all personas.

        Raises:
            RegistryError: The folder is not there, as when its storage is not mounted.
            StorageError: The bucket cannot be read.
        """
        return self.shelf.names()

    def record(self, slug: str) -> PersonaRecord:
        """One persona.

        Raises:
            RegistryError: There is none of that name, or its record is damaged.
            StorageError: The bucket cannot be read.
        """
        text = self.shelf.read(_checked(slug))
        if text is None:
            raise self._nobody(slug)
        return self._parse(slug, text)

    def adapter(self, entry: Entry) -> Path:
        """The folder of a version on this machine, checked against its hash.

        Raises:
            RegistryError: The adapter is missing or was changed.
            StorageError: The bucket cannot be read.
        """
        where = f"{self.place}/adapters/{entry.weights_hash}"
        try:
            folder = self.shelf.adapter(entry.weights_hash)
            found = load_manifest(folder).weights_hash
        except AdapterError as cause:
            raise RegistryError(f"{where}: {cause} The registry's copy is damaged; publish the run again.") from cause
        if found != entry.weights_hash:
            raise RegistryError(
                f"{where} holds weights {found}, not those it is named by: somebody changed it. Publish the run again."
            )
        return folder

    def report(self, entry: Entry) -> str | None:
        """What was measured of a version, as JSON; ``None`` where nothing was kept.

        Raises:
            RegistryError: It cannot be read.
            StorageError: The bucket cannot be read.
        """
        return self.shelf.report(entry.weights_hash)

    def live(self) -> list[Path]:
        """The adapter of every persona that has a live version.

        Raises:
            RegistryError: A record or an adapter is damaged.
            StorageError: The bucket cannot be read.
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
        yardstick: Yardstick | None = None,
        report: str = "",
    ) -> PersonaRecord:
        """Copy an adapter into the registry and add it to its persona's versions, as the last; a live one takes the place of the live one.

        Args:
            adapter: PEFT folder with a manifest.
            status: ``candidate`` or ``live``; weights that are live stay so as a candidate, too.
            run: Where it came from.
            ratings: Headline figures of its report.
            gate: Bounds it was held to, for the record.
            published_by: Who publishes; the user of this process by default.
            canary: What it answers; that of an earlier publication is kept where there is none.
            yardstick: What tells whether an answer is in character.
            report: What was measured, as JSON, for bounds that the version is held to later.

        Raises:
            AdapterError: The adapter is damaged or unsafe.
            RegistryError: It belongs to another base model than the persona's other versions, or has a reserved name.
            StorageError: The bucket cannot be read or written.
        """
        manifest = load_manifest(adapter)
        if why := why_reserved(manifest.slug):
            raise RegistryError(
                f"{adapter}: the persona is named {manifest.slug}, {why}. Train it under another meta.name."
            )
        self.shelf.store(adapter, manifest.weights_hash)
        if report:
            self.shelf.keep_report(manifest.weights_hash, report)
        entry = Entry(
            weights_hash=manifest.weights_hash,
            status=status,
            published_by=published_by or user(),
            published_at=now(),
            run=run,
            ratings=ratings or {},
            gate=list(gate),
            canary=canary,
            yardstick=yardstick,
        )

        def add(record: PersonaRecord) -> None:
            self._check_base(record, manifest, adapter)
            older = [each for each in record.versions if each.weights_hash != entry.weights_hash]
            same = next((each for each in record.versions if each.weights_hash == entry.weights_hash), None)
            kept: dict[str, object] = {}
            if same is not None and entry.canary is None:
                kept["canary"] = same.canary
            if same is not None and same.status == "live":
                kept["status"] = "live"
            new = entry.model_copy(update=kept)
            if new.status == "live" and (same is None or same.status != "live"):
                record.note(made_now("published", new.weights_hash, entry.published_by, gate))
            record.versions = [*(demoted(each) if new.status == "live" else each for each in older), new]

        return self._change(manifest.slug, add, persona=manifest.persona)

    def promote(self, slug: str, weights_hash: str, *, gate: Sequence[str] = (), by: str = "") -> PersonaRecord:
        """Make a published version the live one; the beginning of its hash is enough.

        Args:
            slug: The persona.
            weights_hash: The version.
            gate: Bounds it was held to, for the record.
            by: Who promotes; the user of this process by default.

        Raises:
            RegistryError: There is no such version, or several.
            StorageError: The bucket cannot be read or written.
        """

        def go_live(record: PersonaRecord) -> None:
            entry = self.version(record, weights_hash)
            self._make_live(record, entry, made_now("promoted", entry.weights_hash, by, gate))

        return self._change(slug, go_live)

    def roll_back(self, slug: str, *, by: str = "") -> PersonaRecord:
        """Make the version live that was live before, as the history has it; again, and it is the one before that.

        Raises:
            RegistryError: Nothing is live, nothing came before, or another version went live in the meantime.
            StorageError: The bucket cannot be read or written.
        """
        seen = self.record(slug)
        live = seen.live
        if live is None:
            raise RegistryError(f"{slug} has no live version to roll back from. Promote one.")
        if seen.before is None:
            raise RegistryError(
                f"{slug}: nothing was live before {live.weights_hash}, so there is nothing to roll back to."
            )
        target, left = seen.before, live.weights_hash

        def back(record: PersonaRecord) -> None:
            found = record.live.weights_hash if record.live else "none"
            if found not in (left, target):
                raise RegistryError(
                    f"{slug}: {left} was to be rolled back, but {found} is live by now. Look at it, and roll back again if it is to go."
                )
            if found == left:
                self._make_live(record, self.version(record, target), made_now("rolled_back", target, by))

        return self._change(slug, back)

    def retire(self, slug: str, *, by: str = "") -> PersonaRecord:
        """Take a persona out of service; its versions stay.

        Raises:
            RegistryError: There is none of that name.
            StorageError: The bucket cannot be read or written.
        """

        def end(record: PersonaRecord) -> None:
            if record.live is not None:
                record.note(made_now("retired", "", by))
            record.versions = [demoted(entry) for entry in record.versions]

        return self._change(slug, end)

    def version(self, record: PersonaRecord, weights_hash: str) -> Entry:
        """The version whose hash begins so.

        Raises:
            RegistryError: There is none, or several.
        """
        found = [entry for entry in record.versions if entry.weights_hash.startswith(weights_hash)]
        if len(found) != 1:
            versions = ", ".join(entry.weights_hash for entry in record.versions)
            raise RegistryError(
                f"{record.slug} has {len(found)} versions whose hash begins with {weights_hash!r}; it has {versions}. Name one."
            )
        return found[0]

    def _make_live(self, record: PersonaRecord, entry: Entry, change: Change) -> None:
        self.adapter(entry)
        if entry.status != "live":
            record.note(change)
        record.versions = [
            each.model_copy(update={"status": "live"}) if each is entry else demoted(each) for each in record.versions
        ]

    def _check_base(self, record: PersonaRecord, manifest: Manifest, adapter: Path) -> None:
        for entry in record.versions:
            other = self.shelf.manifest(entry.weights_hash).base_model
            if other.hash != manifest.base_model.hash:
                raise RegistryError(
                    f"{adapter} was trained on {manifest.base_model.name} ({manifest.base_model.hash}), but the other versions of "
                    f"{manifest.slug} on {other.name} ({other.hash}), and one deployment serves one base. Use a registry of its own."
                )

    def _change(self, slug: str, change: Callable[[PersonaRecord], None], *, persona: str = "") -> PersonaRecord:
        """A persona's record after a change, which is made again where another's came first; a new one if it has a name."""
        written: list[PersonaRecord] = []

        def edit(text: str | None) -> str:
            if text is None and not persona:
                raise self._nobody(slug)
            record = PersonaRecord(slug=slug, persona=persona) if text is None else self._parse(slug, text)
            change(record)
            written.append(record)
            return record.model_dump_json(indent=1) + "\n"

        self.shelf.change(_checked(slug), edit)
        return written[-1]

    def _nobody(self, slug: str) -> RegistryError:
        known = ", ".join(self.shelf.look()) or "none"
        return RegistryError(f"{self.place} has no persona {slug!r}; it has {known}. Publish a run first.")

    def _parse(self, slug: str, text: str) -> PersonaRecord:
        try:
            return PersonaRecord.model_validate_json(text)
        except ValidationError as cause:
            raise RegistryError(
                f"{self.place}/personas/{slug}.json cannot be read ({cause}). Restore it; the adapters lie beside it."
            ) from cause


def _checked(slug: str) -> str:
    """The slug, if it is one: it becomes part of a path or a key."""
    if not _SLUG.fullmatch(slug):
        raise RegistryError(f"{slug[:120]!r} is not the name of a persona. Names are such as captain-blackwood.")
    return slug
