"""The adapter interference matrix: whether personas that answer side by side answer as each does alone.

An answer is kept with the log-probabilities of its likeliest next tokens, step by step. Two answers are compared as far as their contexts
are the same: up to and with the first step at which they choose different tokens. So a tie that rounding decides the other way costs
nothing, and another persona's answer shows at its first token.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from character_ray.canary import TOLERANCE_NATS
from character_ray.errors import ServingError

__all__ = ["Confusion", "Mixed", "Step", "Trace", "Verdict", "distance", "judge"]


@dataclass(frozen=True)
class Step:
    """One generated token: which, and the log-probabilities in nats of the likeliest tokens at its place."""

    token: str
    top: Mapping[str, float]


Trace = Sequence[Step]
"""A greedy answer, a step for each token."""


@dataclass(frozen=True)
class Mixed:
    """An answer that a persona gave while others were asked."""

    persona: str
    prompt: int
    trace: Trace


@dataclass(frozen=True)
class Confusion:
    """An answer nearer to what another says alone than to what its own persona does; distances in nats."""

    persona: str
    prompt: int
    nearest: str
    own: float
    other: float


@dataclass(frozen=True)
class Verdict:
    """What the mixed answers are nearest to.

    Args:
        names: The personas, in the order of rows and columns.
        nearest: Answers of the row's persona that are nearest to the column's answer alone, shape (N, N).
        distances: Mean distance in nats from the row's mixed answers to the column's answers alone, shape (N, N).
        noise: Largest distance in nats between two answers of one persona alone to one prompt.
        apart: Smallest distance in nats between answers of two personas alone to one prompt, of those that can be told apart.
        alike: Pairs of personas and the number of prompts on which they cannot be told apart.
        confused: Answers nearer to another persona's.
        beyond: Answers farther from their own persona's than ``tolerance``.
        tolerance: In nats.
    """

    names: tuple[str, ...]
    nearest: tuple[tuple[int, ...], ...]
    distances: tuple[tuple[float, ...], ...]
    noise: float
    apart: float
    alike: Mapping[tuple[str, str], int]
    confused: tuple[Confusion, ...]
    beyond: tuple[Mixed, ...]
    tolerance: float

    @property
    def clean(self) -> bool:
        """Whether every answer is its persona's own, within the tolerance."""
        return not self.confused and not self.beyond


def distance(one: Trace, other: Trace) -> float:
    """Mean absolute difference in nats between two answers' next-token distributions, over the steps of one context.

    A token that is among the likeliest of one side alone is at most as likely on the other as the least of those there.

    Raises:
        ServingError: One of them has no steps, or no log-probabilities.
    """
    steps = []
    for mine, theirs in zip(one, other, strict=False):
        steps.append(_step_distance(mine.top, theirs.top))
        if mine.token != theirs.token:
            break
    if not steps:
        raise ServingError("an answer has no tokens to compare. Ask for at least one, with log-probabilities.")
    return fmean(steps)


def judge(
    alone: Mapping[str, Sequence[Trace]],
    again: Mapping[str, Sequence[Trace]],
    mixed: Iterable[Mixed],
    tolerance: float = TOLERANCE_NATS,
) -> Verdict:
    """Compare mixed answers with all personas' answers alone.

    Args:
        alone: Each persona's answer to each prompt, nobody else being asked.
        again: The same asked once more, for the noise.
        mixed: Answers under mixed load.
        tolerance: Distance in nats up to which an answer is its persona's own.

    Raises:
        ServingError: There is nothing to compare.
    """
    answers = list(mixed)
    if not answers:
        raise ServingError("there are no answers under mixed load to compare. Ask at least one prompt.")
    names = tuple(alone)
    noise = max(distance(one, two) for name in names for one, two in zip(alone[name], again[name], strict=True))
    pairs = {
        (one, other, prompt): distance(alone[one][prompt], alone[other][prompt])
        for one in names
        for other in names
        if one != other
        for prompt in range(len(alone[one]))
    }
    # What repeats of one answer differ by cannot tell two personas apart.
    told_apart = {key: value for key, value in pairs.items() if value > 2 * noise}
    alike: dict[tuple[str, str], int] = {}
    for one, other, _ in pairs.keys() - told_apart.keys():
        if one < other:
            alike[one, other] = alike.get((one, other), 0) + 1
    counts = {name: dict.fromkeys(names, 0) for name in names}
    sums: dict[str, dict[str, list[float]]] = {name: {other: [] for other in names} for name in names}
    confused, beyond = [], []
    for answer in answers:
        found = {name: distance(answer.trace, alone[name][answer.prompt]) for name in names}
        own = found[answer.persona]
        rivals = [n for n in names if (answer.persona, n, answer.prompt) in told_apart and found[n] < own]
        closest = min(rivals, key=found.__getitem__, default=answer.persona)
        counts[answer.persona][closest] += 1
        for name, value in found.items():
            sums[answer.persona][name].append(value)
        if closest != answer.persona:
            confused.append(Confusion(answer.persona, answer.prompt, closest, own, found[closest]))
        elif not own <= tolerance:  # what is not a number is beyond it, too
            beyond.append(answer)
    return Verdict(
        names=names,
        nearest=tuple(tuple(counts[row].values()) for row in names),
        distances=tuple(tuple(fmean(each) if each else 0.0 for each in sums[row].values()) for row in names),
        noise=noise,
        apart=min(told_apart.values(), default=0.0),
        alike=alike,
        confused=tuple(confused),
        beyond=tuple(beyond),
        tolerance=tolerance,
    )


def _step_distance(mine: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    if not mine or not theirs:
        raise ServingError("an answer carries no log-probabilities. Does the server return top_logprobs?")
    my_floor, their_floor = min(mine.values()), min(theirs.values())
    differences = []
    for token in {*mine, *theirs}:
        if token in mine and token in theirs:
            differences.append(abs(mine[token] - theirs[token]))
        elif token in mine:
            differences.append(max(0.0, mine[token] - their_floor))
        else:
            differences.append(max(0.0, theirs[token] - my_floor))
    return fmean(differences)
