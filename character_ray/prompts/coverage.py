"""How evenly a prompt set covers what it is composed of."""

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel

from character_ray.prompts.files import read_data
from character_ray.prompts.grid import HINTS
from character_ray.rows import Prompt

__all__ = ["Coverage", "coverage"]

UNCLEAR = "unclear"
"""Language of prompts that are too short, or too mixed, to tell."""

_DIMENSIONS = {"audience": "audiences", "scenario": "scenarios", "objective": "objectives", "constraint": "constraints"}


class Coverage(BaseModel):
    """One dimension of a prompt set: how many prompts have each of its values."""

    dimension: str
    counts: dict[str, int]
    """Prompts by value; a value that none has counts 0."""

    @property
    def covered(self) -> int:
        """Values that at least one prompt has."""
        return sum(count > 0 for count in self.counts.values())


def coverage(prompts: Sequence[Prompt], directives: Sequence[str] | None = None) -> list[Coverage]:
    """Counts over the four dimensions of the grid, the kinds of hint, sources, languages, and directives.

    Args:
        prompts: The set.
        directives: Those of the constitution, counted by the prompts that were written for each; ``None`` for a set that is the same
            for every constitution.
    """
    grid = read_data("grid.yaml")
    rows = [
        Coverage(dimension=name, counts=_counts(prompts, name, grid[values])) for name, values in _DIMENSIONS.items()
    ]
    hints = Counter(prompt["hint"] for prompt in prompts)
    sources = Counter(prompt["source"] for prompt in prompts)
    languages = Counter(prompt["language"] or UNCLEAR for prompt in prompts)
    written = Counter(prompt["directive"] for prompt in prompts)
    return [
        *rows,
        Coverage(dimension="hint", counts={kind: hints[kind] for kind in HINTS}),
        Coverage(dimension="source", counts=dict(sorted(sources.items()))),
        Coverage(dimension="language", counts=dict(languages.most_common())),
        *(
            []
            if directives is None
            else [Coverage(dimension="directive", counts={each: written[each] for each in directives})]
        ),
    ]


def _counts(prompts: Sequence[Prompt], dimension: str, values: Sequence[str]) -> dict[str, int]:
    found = Counter(prompt[dimension] for prompt in prompts if prompt["source"] == "grid")  # type: ignore[literal-required]
    return {value: found[value] for value in values}
