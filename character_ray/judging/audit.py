"""A judge is measured on pairs whose better side is known before it is believed on any other.

Every pair is judged in both seatings; the known better side is the teacher in character, the other the base model.

    accuracy        the better side wins, over both seatings
    seat_share      the first seat wins; 0.5 is fair
    consistency     a pair has the same winner in both seatings
    equal_length    accuracy when both sides are cut to the same number of words
    identical_seat  the first seat wins when both sides are the same text; 0.5 is fair
    length_gap      accuracy where the better side is longer minus accuracy where it is shorter
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from character_ray.config import AuditConfig
from character_ray.statistics import Interval, cluster_rate

__all__ = ["Audit", "KnownPair", "SeatedPair", "audit", "seat"]

BETTER_FIRST, BETTER_SECOND, CUT_FIRST, CUT_SECOND, SAME = (
    "better-first",
    "better-second",
    "cut-first",
    "cut-second",
    "same",
)


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


def audit(pairs: Sequence[KnownPair], first_wins: Mapping[str, float], bounds: AuditConfig, *, seed: int) -> Audit:
    """Measure a judge from its verdicts.

    Args:
        pairs: The known pairs.
        first_wins: By row id of :func:`seat`, 1 when the judge prefers the first seat, 0 when the second, 0.5 for a tie.
        bounds: What a judge must reach.
        seed: Seed of the bootstrap over prompts.
    """
    right: list[float] = []
    cut_right: list[float] = []
    for pair in pairs:
        for first, second, found in ((BETTER_FIRST, BETTER_SECOND, right), (CUT_FIRST, CUT_SECOND, cut_right)):
            found += [first_wins[f"{pair['prompt_id']}/{first}"], 1 - first_wins[f"{pair['prompt_id']}/{second}"]]
    prompts = [pair["prompt_id"] for pair in pairs]
    twice = [prompt for prompt in prompts for _ in range(2)]
    seats = [value if number % 2 == 0 else 1 - value for number, value in enumerate(right)]
    same = [float(right[2 * n] == right[2 * n + 1]) for n in range(len(pairs))]
    longer = [len(pair["better"].split()) > len(pair["worse"].split()) for pair in pairs for _ in range(2)]
    measures = {
        "accuracy": cluster_rate(right, twice, seed=seed),
        "seat_share": cluster_rate(seats, twice, seed=seed),
        "consistency": cluster_rate(same, prompts, seed=seed),
        "equal_length": cluster_rate(cut_right, twice, seed=seed),
        "identical_seat": cluster_rate([first_wins[f"{prompt}/{SAME}"] for prompt in prompts], prompts, seed=seed),
    }
    if 0 < sum(longer) < len(longer):
        on_longer = [value for value, is_longer in zip(right, longer, strict=True) if is_longer]
        on_shorter = [value for value, is_longer in zip(right, longer, strict=True) if not is_longer]
        gap = sum(on_longer) / len(on_longer) - sum(on_shorter) / len(on_shorter)
        measures["length_gap"] = Interval(gap, gap, gap, len(pairs), "difference of two accuracies, no interval")
    return Audit(measures, _failures(measures, bounds))


def _failures(measures: Mapping[str, Interval], bounds: AuditConfig) -> list[str]:
    failures = [
        f"{name} {measures[name].value:.2f} is below {floor}"
        for name, floor in (
            ("accuracy", bounds.min_accuracy),
            ("equal_length", bounds.min_accuracy),
            ("consistency", bounds.min_consistency),
        )
        if measures[name].value < floor
    ]
    failures += [
        f"{name} {measures[name].value:.2f} is further than {bounds.max_seat_bias} from 0.5"
        for name in ("seat_share", "identical_seat")
        if abs(measures[name].value - 0.5) > bounds.max_seat_bias
    ]
    return failures
