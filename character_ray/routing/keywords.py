"""The baseline of routing: the persona whose profile shares the most telling words with a text."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from character_ray.routing.profiles import Profile
from character_ray.routing.router import Choice

__all__ = ["KeywordRouter"]

SHORTEST = 4  # letters; shorter words are mostly grammar


class KeywordRouter:
    """Chooses by words in common, each weighted by how few profiles have it; a tie or nothing in common is none.

    Args:
        profiles: The personas to choose from, with distinct slugs.
    """

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._words = {profile.slug: _words(" ".join(profile.texts)) for profile in profiles}
        counts = Counter(word for words in self._words.values() for word in words)
        self._weight = {word: math.log(len(profiles) / count) for word, count in counts.items()}

    def choose(self, text: str) -> Choice:
        """The persona for one text; the confidence is its share of the weight of all."""
        asked = _words(text)
        scores = {slug: sum(self._weight[word] for word in words & asked) for slug, words in self._words.items()}
        (best, first), *rest = sorted(scores.items(), key=lambda item: -item[1])
        if first <= 0 or (rest and rest[0][1] == first):
            return Choice(None, 0.0)
        return Choice(best, first / sum(scores.values()))


def _words(text: str) -> set[str]:
    return {word.removesuffix("s") for word in re.findall(r"[a-z]+", text.lower()) if len(word) >= SHORTEST}
