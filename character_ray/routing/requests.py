"""Requests of known persona, to calibrate and to measure a router with.

constitution + templates -> generated requests, with templates that calibration never saw held out
requests.yaml            -> written requests for the constitutions of this project, and requests that suit nobody
"""

import functools
import importlib.resources
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import yaml

from character_ray.constitution import Constitution

__all__ = ["NOBODY", "Part", "RoutedRequest", "routed_requests"]

NOBODY = "none"
Part = Literal["calibrate", "test"]


@dataclass(frozen=True)
class RoutedRequest:
    """One request and whom it suits."""

    text: str
    slug: str
    """Of the persona, or ``none``."""
    group: Literal["generated", "written", "off_topic"]


def routed_requests(
    constitutions: Sequence[Constitution], part: Part, per_template: int, seed: int
) -> list[RoutedRequest]:
    """Every request of a part; written ones are in ``test`` only.

    Args:
        constitutions: The personas.
        part: Whose templates are filled.
        per_template: Most fillings of one template for one persona, drawn without repetition.
        seed: Seed of the draws.
    """
    data, found = _data(), []
    for number, constitution in enumerate(constitutions):
        draw = np.random.default_rng([seed, number])
        for kind, texts in _fillings(constitution):
            for template in data["templates"][part][kind]:
                for place in draw.permutation(len(texts))[:per_template]:
                    found.append(RoutedRequest(template.format(x=texts[place]), constitution.slug, "generated"))
        if part == "test":
            found += [
                RoutedRequest(text, constitution.slug, "written") for text in data["written"].get(constitution.slug, ())
            ]
    return found + [RoutedRequest(text, NOBODY, "off_topic") for text in data["off_topic"][part]]


def _fillings(constitution: Constitution) -> Iterator[tuple[str, list[str]]]:
    """What each kind of template is filled with."""
    yield "topic", list(constitution.persona.voice.vocabulary)
    yield "wish", [_lower(line) for line in constitution.directives.personality]
    yield "role", [_lower(constitution.meta.description.split(":")[0])] if constitution.meta.description else []


def _lower(line: str) -> str:
    line = line.strip().rstrip(".")
    return line[:1].lower() + line[1:]


@functools.cache
def _data() -> Any:
    text = (importlib.resources.files("character_ray.routing") / "data" / "requests.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)
