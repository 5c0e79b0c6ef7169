"""A judge is measured on pairs whose better side is known before it is believed on any other.

Every pair is judged in both seatings; the known better side is the teacher in character, the other the base model.

    accuracy        the better side wins, over both seatings
    seat_share      the first seat wins; 0.5 is fair
    consistency     a pair has the same winner in both seatings
    equal_length    accuracy when both sides are cut to the same number of words
    length_bias     accuracy minus equal_length: what a judge gains or loses by the length of what it reads
    identical_seat  the first seat wins when both sides are the same text; 0.5 is fair
    length_gap      accuracy where the better side is longer minus accuracy where it is shorter
    self_preference how much oftener the side that the judge's own weights wrote wins than it should
    unreadable      seatings without a verdict; every other measure leaves them out
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np

from character_ray.config import AuditConfig
from character_ray.statistics import Interval, cluster_rate, cluster_statistic, paired_difference

__all__ = ["Audit", "KnownPair", "SeatedPair", "Writer", "audit", "seat"]

Writer = Literal["", "better", "worse"]
"""Which side of every known pair the judge's own weights wrote; ``""`` for neither or both."""

BETTER_FIRST, BETTER_SECOND, CUT_FIRST, CUT_SECOND, SAME = (
    "better-first",
    "better-second",
    "cut-first",
    "cut-second",
    "same",
)


# What a measure is when a judge gave no verdict for it.
_UNREAD = Interval(math.nan, math.nan, math.nan, 0, "no verdict could be read")


class KnownPair(TypedDict):
    """Two answers to one prompt, the better one known."""

    prompt_id: str
    prompt: str
    better: str
    worse: str


class SeatedPair(TypedDict):
    """Two answers as a judge sees them; ``row_id`` is prompt and seating."""

    row_id: str
    prompt: str
    first: str
    second: str


@dataclass(frozen=True)
class Audit:
    """What a judge is worth, and why it may not be used."""

    measures: dict[str, Interval]
    failures: list[str]
    """Empty when the judge may be used."""

    @property
    def passed(self) -> bool:
        """Whether every measure keeps its bound."""
        return not self.failures


def seat(pairs: Sequence[KnownPair]) -> list[SeatedPair]:
    """Every seating that an audit asks for, five a pair."""
    rows = []
    for pair in pairs:
        better, worse = pair["better"], pair["worse"]
        words = min(len(better.split()), len(worse.split()))
        cut = " ".join(better.split()[:words]), " ".join(worse.split()[:words])
        seatings = {
            BETTER_FIRST: (better, worse),
            BETTER_SECOND: (worse, better),
            CUT_FIRST: cut,
            CUT_SECOND: cut[::-1],
            SAME: (better, better),
        }
        rows += [
            SeatedPair(row_id=f"{pair['prompt_id']}/{name}", prompt=pair["prompt"], first=first, second=second)
            for name, (first, second) in seatings.items()
        ]
    return rows


def audit(
    pairs: Sequence[KnownPair],
    first_wins: Mapping[str, float],
    bounds: AuditConfig,
    *,
    seed: int,
    own: Writer = "",
) -> Audit:
    """Measure a judge from its verdicts.

    Args:
        pairs: The known pairs.
        first_wins: By row id of :func:`seat`, 1 when the judge prefers the first seat, 0 when the second, 0.5 for a tie, NaN when it
            gave no verdict that could be read.
        bounds: What a judge must reach.
        seed: Seed of the bootstraps over prompts.
        own: Side that the judge's own weights wrote.
    """
    prompts = [pair["prompt_id"] for pair in pairs]

    def scores(seating: str) -> list[float]:
        return [first_wins[f"{prompt}/{seating}"] for prompt in prompts]

    def read(*columns: Sequence[float]) -> tuple[list[float], list[str]]:
        """Columns with one value per prompt as far as they could be read, and the prompt of each value."""
        found = [(value, prompt) for column in columns for value, prompt in zip(column, prompts, strict=True)]
        found = [(value, prompt) for value, prompt in found if not math.isnan(value)]
        return [value for value, _ in found], [prompt for _, prompt in found]

    def rate(*columns: Sequence[float]) -> Interval:
        values, clusters = read(*columns)
        return cluster_rate(values, clusters, seed=seed) if values else _UNREAD

    first, second = scores(BETTER_FIRST), scores(BETTER_SECOND)
    right, right_second = first, [1 - value for value in second]
    right_cut = scores(CUT_FIRST), [1 - value for value in scores(CUT_SECOND)]
    whole, cut = read(right, right_second), read(*right_cut)
    both_read = set(whole[1]) & set(cut[1])
    both = [
        math.nan if math.isnan(one) or math.isnan(other) else float(one == other)
        for one, other in zip(right, right_second, strict=True)
    ]
    unreadable = [float(math.isnan(first_wins[row["row_id"]])) for row in seat(pairs)]
    measures = {
        "accuracy": rate(right, right_second),
        "seat_share": rate(first, second),
        "consistency": rate(both),
        "equal_length": rate(*right_cut),
        "length_bias": paired_difference(*whole, *cut, seed=seed) if both_read else _UNREAD,
        "identical_seat": rate(scores(SAME)),
        "unreadable": cluster_rate(unreadable, [prompt for prompt in prompts for _ in range(5)], seed=seed),
    }
    gap = _length_gap(pairs, right, right_second, seed=seed)
    if gap is not None:
        measures["length_gap"] = gap
    if own:
        # The better side should always win: an own better side cannot win too often, an own worse side can.
        accuracy = measures["accuracy"]
        ends = (accuracy.value, accuracy.low, accuracy.high)
        shifts = sorted(end - 1 if own == "better" else 1 - end for end in ends)
        measures["self_preference"] = Interval(shifts[1], shifts[0], shifts[2], accuracy.n, accuracy.method)
    return Audit(measures, _failures(measures, bounds))


def _length_gap(pairs: Sequence[KnownPair], *columns: Sequence[float], seed: int) -> Interval | None:
    """Accuracy where the better side is longer minus accuracy where it is not; ``None`` without verdicts of both kinds."""
    totals, prompts = [], []
    for column in columns:
        for pair, value in zip(pairs, column, strict=True):
            if not math.isnan(value):
                longer = len(pair["better"].split()) > len(pair["worse"].split())
                totals.append((value * longer, longer, value * (not longer), not longer))
                prompts.append(pair["prompt_id"])
    sums_NK = np.array(totals, dtype=np.float64).reshape(-1, 4)
    if not (sums_NK[:, 1].any() and sums_NK[:, 3].any()):
        return None

    def gap(sums: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.asarray(sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3])

    return cluster_statistic(sums_NK, prompts, gap, seed=seed, bounds=(-1.0, 1.0))


def _failures(measures: Mapping[str, Interval], bounds: AuditConfig) -> list[str]:
    failures = [
        f"{name} {measures[name].value:.2f} is below {floor}"
        for name, floor in (
            ("accuracy", bounds.min_accuracy),
            ("equal_length", bounds.min_accuracy),
            ("consistency", bounds.min_consistency),
        )
        if not measures[name].value >= floor
    ]
    failures += [
        f"{name} {measures[name].value:.2f} is further than {bounds.max_seat_bias} from 0.5"
        for name in ("seat_share", "identical_seat")
        if abs(measures[name].value - 0.5) > bounds.max_seat_bias
    ]
    if abs(measures["length_bias"].value) > bounds.max_length_bias:
        failures.append(
            f"length_bias {measures['length_bias'].value:+.2f} is further than {bounds.max_length_bias} from 0"
        )
    failures += [
        f"{name} {measures[name].value:.2f} is above {ceiling}"
        for name, ceiling in (
            ("self_preference", bounds.max_self_preference),
            ("unreadable", bounds.max_unreadable),
        )
        if name in measures and measures[name].value > ceiling
    ]
    return failures
