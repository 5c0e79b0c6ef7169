"""Who meets whom on which prompt, and what the verdicts add up to.

    {player, prompt_id, prompt, completion}
      -> seated    {row_id, prompt, first, second}                 every pair in both seats
      -> verdicts  {row_id, judge, first_wins, verdict, reply}     one per judge and seating
      -> battles   one per pair and prompt: both seatings, or unscored

Nothing is dropped here: a battle that a judge could not be read on is ``unscored``, stored and counted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pyarrow as pa

from character_ray.judging.audit import SeatedPair
from character_ray.judging.rating import Battles
from character_ray.judging.schedule import Pair
from character_ray.judging.verdict import Seat, combine_orders, to_points

__all__ = [
    "VERDICT_ROW",
    "Entry",
    "Meeting",
    "VerdictRow",
    "collect",
    "combined",
    "meetings",
    "next_prompts",
    "points",
    "round_prompts",
    "seated",
]

VERDICT_ROW = pa.schema(
    {
        "row_id": pa.string(),
        "prompt_id": pa.string(),
        "first": pa.string(),
        "second": pa.string(),
        "judge": pa.string(),
        "first_wins": pa.float64(),
        "verdict": pa.string(),
        "reply": pa.string(),
    }
)


class Entry(TypedDict):
    """What one contestant answered to one prompt."""

    player: int
    prompt_id: str
    prompt: str
    completion: str


class VerdictRow(TypedDict):
    """What one judge said of one seating; ``verdict`` is ``""`` when it could not be read, ``first_wins`` then NaN."""

    row_id: str
    prompt_id: str
    first: str
    second: str
    judge: str
    first_wins: float
    verdict: str
    reply: str


@dataclass(frozen=True)
class Meeting:
    """Two contestants on one prompt, in one seating."""

    row_id: str
    prompt: int
    first: int
    second: int


def meetings(asked: Mapping[Pair, range]) -> list[Meeting]:
    """Every pair on the prompts it is asked, in both seats: prompt by prompt, the two seatings of a battle after one another.

    Args:
        asked: Numbers of the prompts by pair.
    """
    battles = sorted((prompt, pair) for pair, prompts in asked.items() for prompt in prompts)
    return [
        Meeting(f"{prompt}/{first}/{second}", prompt, first, second)
        for prompt, (a, b) in battles
        for first, second in ((a, b), (b, a))
    ]


def round_prompts(prompts: int, first: int, growth: float) -> list[range]:
    """Numbers of the prompts of each round of a pair: ``first`` of them, in every other round ``growth`` times those of the one before."""
    rounds, start, size = [], 0, float(first)
    while start < prompts:
        stop = min(start + round(size), prompts)
        rounds.append(range(start, stop))
        start, size = stop, size * growth
    return rounds


def next_prompts(pairs: Sequence[Pair], asked: Mapping[Pair, int], rounds: Sequence[range]) -> dict[Pair, range]:
    """What each pair is asked next: every pair goes through the same rounds of prompts in their order, at its own pace.

    So a pair that sat out has missed nothing and is not asked more at once for it, and which prompt comes next does not depend on any
    verdict, only when.

    Args:
        pairs: Who is asked; each has prompts left.
        asked: How many prompts each pair was asked already.
        rounds: Of :func:`round_prompts`.
    """
    by_start = {each.start: each for each in rounds}
    return {pair: by_start[asked[pair]] for pair in pairs}


def seated(played: Sequence[Meeting], entries: Mapping[tuple[int, int], Entry]) -> list[SeatedPair]:
    """What judges see.

    Args:
        played: Meetings.
        entries: Answers by number of prompt and player.
    """
    return [
        SeatedPair(
            row_id=each.row_id,
            prompt=entries[each.prompt, each.first]["prompt"],
            first=entries[each.prompt, each.first]["completion"],
            second=entries[each.prompt, each.second]["completion"],
        )
        for each in played
    ]


def collect(
    played: Sequence[Meeting], verdicts: Mapping[str, Seat | None], entries: Mapping[tuple[int, int], Entry]
) -> Battles:
    """Seatings as the rating model takes them; a battle with an unreadable seating is left out whole and counted once."""
    rows, unscored = [], 0
    for first, swapped in zip(played[::2], played[1::2], strict=True):
        if verdicts[first.row_id] is None or verdicts[swapped.row_id] is None:
            unscored += 1
            continue
        rows += [first, swapped]
    return Battles(
        np.array([[each.first, each.second] for each in rows], dtype=np.int64).reshape(-1, 2),
        np.array([to_points(verdicts[each.row_id]) for each in rows]),
        np.array([each.prompt for each in rows], dtype=np.int64),
        unscored,
        np.array([_longer(entries[each.prompt, each.first], entries[each.prompt, each.second]) for each in rows]),
    )


def combined(played: Sequence[Meeting], verdicts: Mapping[str, Seat | None]) -> Battles:
    """Battles with one outcome for both seatings: who wins in both, else a tie."""
    pairs = list(zip(played[::2], played[1::2], strict=True))
    found = [(first, combine_orders(verdicts[first.row_id], verdicts[swapped.row_id])) for first, swapped in pairs]
    scored = [(each, to_points(seat)) for each, seat in found if seat is not None]
    return Battles(
        np.array([[each.first, each.second] for each, _ in scored], dtype=np.int64).reshape(-1, 2),
        np.array([outcome for _, outcome in scored]),
        np.array([each.prompt for each, _ in scored], dtype=np.int64),
        len(found) - len(scored),
    )


def points(played: Sequence[Meeting], verdicts: Mapping[str, Seat | None]) -> dict[Pair, list[float]]:
    """By pair, what its first contestant scored on each prompt: the mean of both seatings; unscored battles are left out."""
    found: dict[Pair, list[float]] = {}
    for first, swapped in zip(played[::2], played[1::2], strict=True):
        mean = (to_points(verdicts[first.row_id]) + 1 - to_points(verdicts[swapped.row_id])) / 2
        if not math.isnan(mean):
            found.setdefault((first.first, first.second), []).append(mean)
    return found


def _longer(first: Entry, second: Entry) -> float:
    """Difference of the numbers of words over their sum; 0 for two empty answers."""
    a, b = (len(each["completion"].split()) for each in (first, second))
    return (a - b) / (a + b) if a + b else 0.0
