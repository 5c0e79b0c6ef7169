"""Whether an answer contradicts itself, and a conversation what was said in it before.

    answer -> statements -> pairs of them -> probability of contradiction -> the largest decides

The more statements, the more pairs, and the more chances to be called contradictory: compare arms of like length.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from character_ray.statistics import cluster_rate

__all__ = ["RATES", "Said", "contradiction_rate", "statement_pairs", "statements"]

RATES = ("contradiction_rate", "conversation_contradiction_rate")

_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])[\"'\u2019\u201d)]*\s+|\n+")
_LEADING = re.compile(r"^\s*(?:[-*\u2022]|\d+[.)])\s*")
LEAST_WORDS = 3


@dataclass(frozen=True)
class Said:
    """What one arm said to one prompt, or in one conversation."""

    said_id: str
    arm: str
    cluster: str
    """Prompt or script."""
    statements: tuple[str, ...]


def statements(text: str, most: int) -> tuple[str, ...]:
    """The sentences and list items of a text that state something, each once: no questions, nothing of fewer than three words.

    Args:
        text: An answer.
        most: How many are kept, from the beginning.
    """
    found = (_LEADING.sub("", piece).strip() for piece in _END.split(text))
    kept = (piece for piece in found if len(piece.split()) >= LEAST_WORDS and not piece.rstrip("\"')").endswith("?"))
    return tuple(itertools.islice(dict.fromkeys(kept), most))


def statement_pairs(said: Said) -> dict[str, tuple[str, str]]:
    """Every statement with every later one, by an id that begins with ``said_id``."""
    pairs = itertools.combinations(range(len(said.statements)), 2)
    return {f"{said.said_id}/{i}-{j}": (said.statements[i], said.statements[j]) for i, j in pairs}


def contradiction_rate(
    said: Sequence[Said], probabilities: Mapping[str, float], threshold: float, *, seed: int, resamples: int
) -> dict[str, Any]:
    """Share of texts in which some pair is a contradiction; those with fewer than two statements cannot be and are left out.

    Args:
        said: Texts of one arm.
        probabilities: Of contradiction, by the ids of :func:`statement_pairs`.
        threshold: A pair above it is one.
        seed: Seed of the bootstrap.
        resamples: Number of resamples.
    """
    found = [
        (each.cluster, float(max(probabilities[pair] for pair in pairs) > threshold))
        for each in said
        if (pairs := statement_pairs(each))
    ]
    if not found:
        return {"value": None, "reason": "no answer made two statements"}
    clusters, values = zip(*found, strict=True)
    return vars(cluster_rate(values, clusters, seed=seed, resamples=resamples))
