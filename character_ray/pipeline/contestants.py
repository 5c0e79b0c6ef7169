"""Who takes part in a tournament, and with which answers."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from character_ray.config import Recipe, ServedConfig, Tournament
from character_ray.constitution import Constitution, check_unedited, load_constitution
from character_ray.errors import ReportError
from character_ray.parts import read_rows
from character_ray.stages.tournament import Entry

__all__ = ["Answers", "Lineup", "Served", "load_lineup", "recipe_of", "with_answers"]

FEWEST_PROMPTS = 8


Answers = dict[str, tuple[str, str]]
"""Prompt and completion by id of the prompt."""


@dataclass(frozen=True)
class Served:
    """A contestant that is asked when the tournament is held."""

    player: int
    number: int
    """Its place among the recipe's contestants."""
    config: ServedConfig


@dataclass(frozen=True)
class Lineup:
    """All contestants, and the prompts that every one of them answered, in the order they are asked."""

    labels: list[str]
    sources: list[str]
    """Run, or address of what is served."""
    arms: list[str]
    """Arm of the run, or model at the address."""
    recipes: list[Recipe]
    served: list[Served]
    prompts: list[str]
    """Ids, shuffled by the tournament's seed."""
    texts: dict[str, str]
    """What was asked, by id."""
    entries: dict[tuple[int, int], Entry]
    """By number of prompt and contestant; those that are served come with :func:`with_answers`."""
    left_out: int
    """Prompts that some contestants answered and others did not, or failed on."""
    constitution: Constitution
    audit_run: Path
    """Run of that character whose teacher and base completions are the known pairs."""


@dataclass(frozen=True)
class _Player:
    label: str
    source: str
    arm: str
    recipe: Recipe
    run: Path | None = None
    answers: Answers | None = None
    """``None`` if it is still to be asked."""


def load_lineup(tournament: Tournament) -> Lineup:
    """Read the contestants' answers.

    Raises:
        ReportError: A run or an arm is missing, the runs are of different personas and none is named, or too few prompts are shared.
        ConstitutionError: A constitution cannot be read, or was edited since its run was made.
    """
    first = next((each.run for each in tournament.contestants if each.run is not None), tournament.audit_run)
    assert first is not None, "a tournament without runs names an audit run"
    players, served = _players(tournament, recipe_of(first))
    labels = [player.label for player in players]
    if len(set(labels)) != len(labels):
        raise ReportError(
            f"contestants: {', '.join(labels)} could not be told apart, because run folders or served models have the same name. Rename "
            "a run, or give served.label."
        )
    answers = [player.answers for player in players if player.answers is not None]
    if not answers:  # all are served: they are asked what the run's arms were
        every_arm = _answers_by_arm(first).values()
        answers = [{prompt: answer for own in every_arm for prompt, answer in own.items()}]
    shared = sorted(set.intersection(*(set(each) for each in answers)))
    _check_enough(len(shared))
    every = set.union(*(set(each) for each in answers))
    prompts = random.Random(tournament.seed).sample(shared, len(shared))[: tournament.prompts]
    local = [player for player in players if player.run is not None] or [_Player("", "", "", recipe_of(first), first)]
    own = [_trained_on(player) for player in local]
    judged = _judged(tournament, own, [player.label for player in local])
    audit_run = tournament.audit_run or next(
        (player.run for player, each in zip(local, own, strict=True) if each.fingerprint == judged.fingerprint), None
    )
    if audit_run is None:
        raise ReportError(
            f"no contestant's run is of {judged.meta.name} ({tournament.constitution}), so there are no known pairs to audit judges on. "
            "Set audit_run to a run of that character."
        )
    return Lineup(
        labels=labels,
        sources=[player.source for player in players],
        arms=[player.arm for player in players],
        recipes=[player.recipe for player in players],
        served=served,
        prompts=prompts,
        texts={prompt: answers[0][prompt][0] for prompt in prompts},
        entries=_entries(prompts, {number: player.answers for number, player in enumerate(players) if player.answers}),
        left_out=len(every) - len(shared),
        constitution=judged,
        audit_run=audit_run,
    )


def with_answers(lineup: Lineup, answers: Mapping[int, Answers], versions: Mapping[int, str]) -> Lineup:
    """The lineup once those that are served have answered; prompts that one of them failed on are left out.

    Args:
        lineup: As it was loaded.
        answers: What each of them said, by number of the player.
        versions: The version that answered, by number of the player.

    Raises:
        ReportError: Too few prompts were answered by all of them.
    """
    kept = [prompt for prompt in lineup.prompts if all(prompt in own for own in answers.values())]
    _check_enough(len(kept))
    local = {
        player: {
            prompt: (lineup.texts[prompt], lineup.entries[number, player]["completion"])
            for number, prompt in enumerate(lineup.prompts)
        }
        for player in range(len(lineup.labels))
        if player not in answers
    }
    return replace(
        lineup,
        arms=[versions.get(player, arm) for player, arm in enumerate(lineup.arms)],
        prompts=kept,
        entries=_entries(kept, {**local, **answers}),
        left_out=lineup.left_out + len(lineup.prompts) - len(kept),
    )


def _players(tournament: Tournament, recipe: Recipe) -> tuple[list[_Player], list[Served]]:
    """Everybody in the recipe's order; those that are served are asked by the recipe."""
    players: list[_Player] = []
    served: list[Served] = []
    several = len({each.run for each in tournament.contestants if each.run is not None}) > 1
    for number, each in enumerate(tournament.contestants):
        if each.served is not None:
            served.append(Served(len(players), number, each.served))
            name = each.served.label or each.served.model
            players.append(_Player(name, each.served.url, each.served.model, recipe))
            continue
        assert each.run is not None, "a contestant has a run or is served"
        own, by_arm = recipe_of(each.run), _answers_by_arm(each.run)
        for arm in each.arms:
            if arm not in by_arm:
                raise ReportError(
                    f"contestants: {each.run} has no arm {arm!r}; it has {', '.join(sorted(by_arm))}. Name one of these, or run its "
                    f"recipe again with {arm!r} in evaluate.arms."
                )
            label = f"{each.run.name}/{arm}" if several else arm
            players.append(_Player(label, str(each.run), arm, own, each.run, by_arm[arm]))
    return players, served


def _entries(prompts: Sequence[str], answers: Mapping[int, Answers]) -> dict[tuple[int, int], Entry]:
    return {
        (number, player): Entry(player=player, prompt_id=prompt, prompt=own[prompt][0], completion=own[prompt][1])
        for number, prompt in enumerate(prompts)
        for player, own in answers.items()
    }


def _check_enough(shared: int) -> None:
    if shared < FEWEST_PROMPTS:
        raise ReportError(
            f"the contestants share {shared} prompts, fewer than {FEWEST_PROMPTS}: battles are fought over the same prompt. "
            "Let runs with the same evaluate section and seed meet."
        )


def recipe_of(run: Path) -> Recipe:
    """The recipe that a run was made by.

    Raises:
        ReportError: The folder is no run, or was made by a version with other recipes.
    """
    record = run / "run.json"
    if not record.is_file():
        raise ReportError(f"{run} is no run: it has no run.json. Give the folder of a run, such as runs/demo.")
    try:
        return Recipe.model_validate(json.loads(record.read_text(encoding="utf-8"))["recipe"])
    except (ValidationError, KeyError, json.JSONDecodeError) as cause:
        raise ReportError(
            f"{record} holds no recipe that this version reads ({cause}). Run its recipe again."
        ) from None


def _answers_by_arm(run: Path) -> dict[str, Answers]:
    path = run / "answers.parquet"
    if not path.is_file():
        raise ReportError(f"{run} has no answers.parquet: the run was not finished. Run its recipe again to finish it.")
    found: dict[str, Answers] = {}
    for row in read_rows(path):
        own = found.setdefault(row["arm"], {})
        if row["source"] != "probe" and row["sample"] == 0 and not row["error"] and row["completion"].strip():
            own[row["prompt_id"]] = (row["prompt"], row["completion"])
    return found


def _trained_on(player: _Player) -> Constitution:
    constitution = load_constitution(player.recipe.constitution)
    if player.run is not None:
        check_unedited(constitution, player.recipe.constitution, player.run)
    return constitution


def _judged(tournament: Tournament, own: Sequence[Constitution], labels: Sequence[str]) -> Constitution:
    if tournament.constitution is not None:
        return load_constitution(tournament.constitution)
    if len({each.fingerprint for each in own}) > 1:
        named = ", ".join(f"{label}: {each.meta.name}" for label, each in zip(labels, own, strict=True))
        raise ReportError(
            f"the contestants are of different personas ({named}), and a judge can only say who is more in one character. "
            "Set constitution to that character's file."
        )
    return own[0]
