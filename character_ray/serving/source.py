"""Where a deployment's personas come from: run folders that stay, and a registry that is followed.

A reading never takes a persona out of service because of what it could not read: only a record that says so does.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from character_ray.config import ModelConfig, ServeConfig
from character_ray.errors import AdapterError, RegistryError, StorageError
from character_ray.live_adapter import check_live
from character_ray.registry import Entry, PersonaRecord, Registry
from character_ray.serving.catalogue import Catalogue, base_id
from character_ray.serving.personas import Persona, load_personas

__all__ = ["PersonaSource"]

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class PersonaSource:
    """Everything a replica needs to find personas; it is sent to all of them.

    Args:
        base: The model all were trained on.
        folder: Its folder.
        serve: Bounds the ranks.
        fixed: Personas of run folders.
        registry: Folder or address of the registry, if one is served.
        targets: Layers that the engine wraps; ``None`` for all.
        rank: Largest rank the engine was started for.
        resident: Adapters that a replica's engine holds in memory.
        candidates: Whether anybody may ask for candidates.
    """

    base: ModelConfig
    folder: Path
    serve: ServeConfig
    fixed: tuple[Persona, ...] = ()
    registry: Path | str | None = None
    targets: Sequence[str] | None = None
    rank: int = 0
    resident: int = 0
    candidates: bool = False

    def read(self, current: Catalogue) -> tuple[Catalogue, dict[str, str]]:
        """The catalogue as the registry is now, and why some personas are not as it says, by name.

        A persona whose new version cannot be served stays at the version it is at.
        """
        if self.registry is None:
            return current, {}
        held = {persona.slug: persona for persona in current.personas if persona not in self.fixed}
        problems: dict[str, str] = {}
        registry = Registry(self.registry)
        try:
            records = registry.look()
            if not records:
                registry.slugs()  # says why, if the storage is not there
        except (RegistryError, StorageError) as error:
            return current, {"": str(error)}
        found: dict[str, Persona] = {}
        versions: list[Persona] = []
        for slug in [*records, *(slug for slug in held if slug not in records)]:
            try:
                record = records[slug] if slug in records else registry.record(slug)
                if not isinstance(record, Exception):
                    versions += self._versions(slug, record, current, problems)
                persona = self._live(slug, record, held.get(slug))
            except (AdapterError, RegistryError, OSError) as error:
                problems[slug] = str(error)
                persona = held.get(slug)
            if persona is not None:
                found[slug] = persona
        read = {slug for slug, record in records.items() if not isinstance(record, Exception)}
        versions += [version for version in current.versions if version.slug not in read]
        return replace(current, personas=(*self.fixed, *found.values()), versions=tuple(versions)), problems

    def find(self, pinned: str) -> Persona:
        """The persona of these weights, live or not: a request under way keeps its version.

        Raises:
            AdapterError: There is none, or it may not be served.
            RegistryError: Its record or its adapter is damaged.
            StorageError: The registry's bucket cannot be read.
        """
        for persona in self.fixed:
            if persona.pinned == pinned:
                return persona
        slug, _, weights = pinned.rpartition("-")
        if self.registry is not None:
            for entry in Registry(self.registry).record(slug).versions:
                if entry.weights_hash == weights:
                    return self._checked(slug, entry)
        raise AdapterError(f"there is no adapter {pinned}. Publish it, or restart the server with its run.")

    def _versions(
        self, slug: str, record: PersonaRecord, current: Catalogue, problems: dict[str, str]
    ) -> list[Persona]:
        """Versions that are not live and answer to their pinned names: candidates, and what was replaced a short time ago."""
        held = {each.pinned: each for each in (*current.personas, *current.versions) if each not in self.fixed}
        found = []
        for entry in record.versions:
            replaced = record.replaced_at(entry.weights_hash) if record.live is not None else None
            kept = replaced is not None and (datetime.now(UTC) - replaced).total_seconds() < self.serve.keep_replaced_s
            tried = entry.status == "candidate" and self.candidates
            if entry.status == "live" or not (kept or tried) or any(each.slug == slug for each in self.fixed):
                continue
            pinned = f"{slug}-{entry.weights_hash}"
            try:
                version = held.get(pinned) or self._checked(slug, entry)
            except (AdapterError, RegistryError, OSError) as error:
                problems[pinned] = str(error)
            else:
                found.append(replace(version, status="retired" if kept else "candidate", ratings=entry.ratings))
        return found

    def _live(self, slug: str, record: PersonaRecord | Exception, held: Persona | None) -> Persona | None:
        if isinstance(record, Exception):
            raise record
        live = record.live
        if live is None:
            return None
        if any(persona.slug == slug for persona in self.fixed):
            raise RegistryError(f"{slug} is served from a run folder, which goes before the registry's.")
        if held is not None and held.manifest.weights_hash == live.weights_hash:
            return replace(held, canary=live.canary, yardstick=live.yardstick, ratings=live.ratings, status="live")
        return self._checked(slug, live)

    def _checked(self, slug: str, entry: Entry) -> Persona:
        assert self.registry is not None
        folder = Registry(self.registry).adapter(entry)
        (persona,) = load_personas(self.base.name, self.folder, [folder], self.serve)
        if persona.slug != slug:
            raise RegistryError(f"{folder}: the record of {slug} names an adapter of {persona.slug}. Publish it again.")
        if self.rank and persona.manifest.rank > self.rank:
            raise AdapterError(
                f"{folder}: {slug} has rank {persona.manifest.rank}, but the engine was started for ranks up to {self.rank}. "
                "Restart the server to serve it."
            )
        check_live(folder, persona.manifest.persona, self.targets, self.folder)
        Catalogue(base_id(self.base), "", (persona,))  # refuses names that clients could not tell apart
        return replace(persona, canary=entry.canary, yardstick=entry.yardstick, ratings=entry.ratings)
