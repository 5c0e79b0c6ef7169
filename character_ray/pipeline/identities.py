"""Whose weights judges and contestants are, as far as it is known: a judge may prefer what its own weights wrote.

Hashes of weights decide where both sides' are known: those of models in a folder, of runs, and of what Character-Ray serves. Else two
models are taken for the same that have one name at one address or, weakest, one name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from character_ray.config import ModelConfig, Recipe
from character_ray.inference.find_model import FoundModel
from character_ray.judging.audit import Writer
from character_ray.models import model_hash
from character_ray.pipeline.contestants import Lineup
from character_ray.pipeline.judges import Panelist

__all__ = [
    "Basis",
    "Candidate",
    "Identity",
    "identity_of_judge",
    "identity_of_run",
    "identity_of_student",
    "known_writer",
    "players_of",
    "same_weights",
    "shared",
]

Basis = Literal["hash", "address", "name"]
"""How it is known that two models are the same weights, the surest first."""

# Arms that are the untrained student's weights, whatever stands in their context.
UNTRAINED = ("base", "prompted")


@dataclass(frozen=True)
class Identity:
    """What is known of a model's weights."""

    name: str
    """Name with its revision, or what it is called at the address."""
    url: str = ""
    """Address; empty for weights that are read here."""
    hash: str = ""
    """Content hash of the weights; empty where nobody tells it."""


@dataclass(frozen=True)
class Candidate:
    """A model that a contestant is or was trained on."""

    identity: Identity
    wrote: bool
    """Whether it wrote the answers itself, untrained."""


def same_weights(one: Identity, other: Identity) -> Basis | None:
    """How two models are known to be the same; ``None`` where they are not, or nothing says so."""
    if one.hash and other.hash:
        return "hash" if one.hash == other.hash else None
    if one.name != other.name:
        return None
    return "address" if one.url and one.url == other.url else "name"


def identity_of_judge(judge: Panelist, lineup: Lineup) -> Identity:
    """The weights of a judge."""
    if judge.spec.endpoint is not None:
        found = judge.found.weights_hash if judge.found else ""
        return Identity(judge.remote_name, _address(judge.spec.endpoint.url), found)
    assert judge.folder is not None, "a judge without an endpoint has a folder"
    return Identity(_name(judge.spec.model or lineup.recipes[0].student), hash=model_hash(judge.folder))


def identity_of_run(run: Path, recipe: Recipe, arm: str) -> Identity:
    """The untrained weights behind an arm of a run: the teacher's, or the student's before any training."""
    if arm == "teacher" and recipe.teacher_endpoint is not None:
        return Identity(recipe.teacher.name, _address(recipe.teacher_endpoint.url))
    return Identity(_name(recipe.teacher if arm == "teacher" else recipe.student), hash=_recorded_hash(run, arm))


def identity_of_student(recipe: Recipe, weights_hash: str) -> Identity:
    """The student's weights before any training, which are the likelihood judge's own."""
    return Identity(_name(recipe.student), hash=weights_hash)


def known_writer(judge: Identity, run: Path, recipe: Recipe) -> Writer:
    """Which side of a run's known pairs a judge's weights wrote: the teacher's is the better one, the student's the worse."""
    wrote_better, wrote_worse = (
        same_weights(judge, identity_of_run(run, recipe, arm)) is not None for arm in ("teacher", "base")
    )
    if wrote_better == wrote_worse:
        return ""
    return "better" if wrote_better else "worse"


def players_of(lineup: Lineup, found: Mapping[int, FoundModel]) -> list[list[Candidate]]:
    """By contestant, the models it is made of.

    Args:
        lineup: Everybody who takes part.
        found: What the endpoints say of those that are served, by number of the contestant.
    """
    addresses = {each.player: _address(each.config.url) for each in lineup.served}
    return [
        _served(found[number], addresses[number])
        if number in found
        else [Candidate(identity_of_run(Path(source), recipe, arm), arm in (*UNTRAINED, "teacher"))]
        for number, (source, arm, recipe) in enumerate(zip(lineup.sources, lineup.arms, lineup.recipes, strict=True))
    ]


def shared(judge: Identity, players: Sequence[Sequence[Candidate]], *, wrote: bool = False) -> dict[int, Basis]:
    """Contestants that are the judge's weights, trained or not, and how that is known.

    Args:
        judge: The judge's weights.
        players: By contestant, what it is made of.
        wrote: Leave out those that were trained further.
    """
    found: dict[int, Basis] = {}
    for number, candidates in enumerate(players):
        known = [same_weights(judge, each.identity) for each in candidates if each.wrote or not wrote]
        for basis in known:
            if basis is not None:
                found.setdefault(number, basis)
    return found


def _served(found: FoundModel, address: str) -> list[Candidate]:
    own = Candidate(Identity(found.name, address, found.weights_hash), wrote=True)
    base = [Candidate(Identity(found.base, address, found.base_hash), wrote=False)] if found.base else []
    return [own, *base]


def _address(url: str) -> str:
    return url.rstrip("/")


def _name(model: ModelConfig) -> str:
    return f"{model.name}@{model.revision}" if model.revision else model.name


def _recorded_hash(run: Path, arm: str) -> str:
    """What a run's stages recorded of the untrained weights; empty if none of them ran."""
    record = run / "run.json"
    stages: dict[str, Any] = (
        json.loads(record.read_text(encoding="utf-8")).get("stages", {}) if record.is_file() else {}
    )
    side = "teacher" if arm == "teacher" else "student"
    for stage, key in ((f"answers-{arm}", "model"), (side, side)):
        found = str(stages.get(stage, {}).get("inputs", {}).get(key, {}).get("hash", ""))
        if found:
            return found
    return ""
