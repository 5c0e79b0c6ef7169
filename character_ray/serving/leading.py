"""Which persona leads a deployment that starts: its base, its engine and its settings are the deployment's."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from character_ray.errors import AdapterError, RegistryError, ServingError, StorageError
from character_ray.registry import Registry
from character_ray.serving.catalogue import base_id
from character_ray.serving.runs import Trained, open_run

__all__ = ["leading"]


def leading(fixed: Sequence[Trained], registry: Path | str | None, base: str = "") -> Trained:
    """The first run; without runs the first live persona on the base that most have. One that cannot be read leads nobody.

    Args:
        fixed: Personas of run folders.
        registry: Folder or address of the registry, if one is served.
        base: Name of the base model to serve, where somebody chose it.

    Raises:
        ServingError: There is nothing to serve, nothing of that base, or as many live personas have one base as another.
        StorageError: The registry's bucket cannot be read.
    """
    problems: dict[str, str] = {}
    offered = list(fixed) or _published(registry, problems)
    if not offered:
        told = "".join(f"\n  {slug}: {problem}" for slug, problem in problems.items())
        if told:
            raise ServingError(f"no live persona of {registry} can be served:{told}")
        where = f"{registry} has no live persona. Publish one with character-ray registry publish RUN --live"
        raise ServingError(
            where if registry else "there is nothing to serve: give runs, or a registry with a live persona."
        )
    if base:
        return _of_base(offered, base)
    if fixed:
        return fixed[0]
    (first, count), *others = Counter(each.manifest.base_model.hash for each in offered).most_common()
    if others and others[0][1] == count:
        raise ServingError(
            f"{registry} has live personas of several bases, as many of one as of another, so which to serve cannot be told: "
            f"{_bases(offered)}. Name one (--base, or base in a Serve config file), or retire what does not belong there."
        )
    return next(each for each in offered if each.manifest.base_model.hash == first)


def _published(registry: Path | str | None, problems: dict[str, str]) -> list[Trained]:
    """The live personas that can be read, by name."""
    if registry is None:
        return []
    place, found = Registry(registry), []
    for slug, record in place.look().items():
        try:
            if isinstance(record, Exception):
                raise record
            if record.live is not None:
                found.append(open_run(place.adapter(record.live)))
        except (AdapterError, RegistryError, StorageError, OSError) as error:
            problems[slug] = str(error)
    return found


def _of_base(offered: Sequence[Trained], base: str) -> Trained:
    for each in offered:
        if base in (each.manifest.base_model.name, each.manifest.base_model.hash, base_id(each.base)):
            return each
    raise ServingError(f"there is no persona of the base {base!r} to serve. There are {_bases(offered)}.")


def _bases(offered: Sequence[Trained]) -> str:
    slugs: dict[str, list[str]] = {}
    for each in offered:
        named = f"{each.manifest.base_model.name} (weights {each.manifest.base_model.hash})"
        slugs.setdefault(named, []).append(each.manifest.slug)
    return "; ".join(f"{', '.join(each)} of {named}" for named, each in slugs.items())
