"""Votes become ratings by the code that rates tournaments; an interval is shown only where the votes allow one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from character_ray.judging.davidson import rate_with_ties
from character_ray.judging.rating import Battles
from character_ray.studio.battles import VotedBattle

__all__ = ["Standing", "standings"]

RESAMPLES = 400
# Fewer opening prompts than this, and resampling them says nothing about others.
LEAST_PROMPTS = 5


@dataclass(frozen=True)
class Standing:
    """One contestant on the leaderboard."""

    key: str
    label: str
    rating: float
    """Elo points; the contestants average 1000."""
    low: float | None
    """Ends of the 95 % interval; ``None`` when ``reason`` says why there is none."""
    high: float | None
    wins: int
    ties: int
    losses: int
    reason: str = ""


def standings(battles: Sequence[VotedBattle], *, seed: int) -> list[Standing]:
    """Everyone who played, the best first."""
    if not battles:
        return []
    labels = {b.key_a: b.label_a for b in battles} | {b.key_b: b.label_b for b in battles}
    keys = sorted(labels)
    prompts = sorted({_opening(battle) for battle in battles})
    place = {key: index for index, key in enumerate(keys)}
    clusters = {prompt: index for index, prompt in enumerate(prompts)}
    outcome = {"A": 1.0, "tie": 0.5, "B": 0.0}
    arranged = Battles(
        np.array([[place[b.key_a], place[b.key_b]] for b in battles]),
        np.array([outcome[b.vote] for b in battles]),
        np.array([clusters[_opening(b)] for b in battles]),
        0,
    )
    intervals = rate_with_ties(arranged, len(keys), len(prompts), seed=seed, resamples=RESAMPLES).ratings
    tallies = {key: _tally(key, battles) for key in keys}
    table = []
    for key, interval in zip(keys, intervals, strict=True):
        tally = tallies[key]
        reason = _why_no_interval(tally, len({_opening(b) for b in battles if key in (b.key_a, b.key_b)}))
        low, high = (None, None) if reason else (interval.low, interval.high)
        table.append(
            Standing(key, labels[key], interval.value, low, high, tally["win"], tally["tie"], tally["loss"], reason)
        )
    return sorted(table, key=lambda standing: (-standing.rating, standing.label))


def _opening(battle: VotedBattle) -> str:
    return " ".join(battle.prompt.lower().split())


def _tally(key: str, battles: Sequence[VotedBattle]) -> Counter[str]:
    tally: Counter[str] = Counter()
    for battle in battles:
        if battle.key_a == battle.key_b or key not in (battle.key_a, battle.key_b):
            continue
        own = "A" if battle.key_a == key else "B"
        tally["tie" if battle.vote == "tie" else "win" if battle.vote == own else "loss"] += 1
    return tally


def _why_no_interval(tally: Counter[str], num_prompts: int) -> str:
    if num_prompts < LEAST_PROMPTS:
        return f"{LEAST_PROMPTS} different opening prompts are needed, {num_prompts} so far"
    if len([kind for kind in ("win", "tie", "loss") if tally[kind]]) < 2:
        return "every vote went the same way, so chance cannot be told from strength"
    return ""
