"""What a persona is about, as short texts that a request can be compared with."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from character_ray.constitution import Constitution

__all__ = ["Profile", "distinct_texts", "profile_texts"]


@dataclass(frozen=True)
class Profile:
    """One persona to choose from."""

    slug: str
    texts: tuple[str, ...]
    """What it is about; at least one."""


def profile_texts(constitution: Constitution) -> tuple[str, ...]:
    """Description, identity by sentence, directives, boundaries, vocabulary and the prompts of the examples."""
    identity = " ".join(constitution.persona.identity.split())
    lines = [
        constitution.meta.description,
        *re.split(r"(?<=[.!?])\s+", identity),
        *constitution.directives.personality,
        *constitution.directives.behavior,
        *constitution.safety.boundaries,
        ", ".join(constitution.persona.voice.vocabulary),
        *(example.prompt for example in constitution.examples),
    ]
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


def distinct_texts(profiles: Sequence[Profile]) -> list[tuple[str, ...]]:
    """Each profile's texts without those that another has, too, since they tell nobody apart; all of them if none were left."""
    seen = Counter(text for profile in profiles for text in set(profile.texts))
    return [tuple(text for text in profile.texts if seen[text] == 1) or profile.texts for profile in profiles]
