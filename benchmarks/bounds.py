"""What each ratio must reach, in one place: the bound below which a change is sent back, and the goal."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["BOUNDS", "Bound", "Standing", "bound_of"]

Standing = Literal["goal", "passes", "misses", "beyond"]


@dataclass(frozen=True)
class Bound:
    """The bounds of one ratio."""

    ratio: str
    says: str
    """What is divided by what."""
    direction: Literal["at least", "at most"]
    passes: float
    goal: float
    limit: float = math.inf
    """The most that can be true: where more was measured, the other side was not at its best."""
    when: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a record that these bounds are for; empty for all."""

    def standing(self, value: float) -> Standing:
        """Where a measured value stands."""
        if value > self.limit:
            return "beyond"
        sign = 1.0 if self.direction == "at least" else -1.0
        if sign * value >= sign * self.goal:
            return "goal"
        return "passes" if sign * value >= sign * self.passes else "misses"


BOUNDS = (
    Bound("R1", "our generation ÷ bare vLLM, tokens per second; 1 is the limit", "at least", 0.95, 0.99, 1.05),
    Bound("R2", "gain by the prefix cache ÷ the gain its rates allow", "at least", 0.80, 0.95),
    Bound("R3", "our self-interaction ÷ bare vLLM with a barrier after every turn", "at least", 1.15, 1.27, 1.47),
    Bound(
        "R4_default", "our DPO ÷ TRL as shipped on ragged rows, wall time", "at most", 0.40, 0.25, when={"full": None}
    ),
    Bound("R4_default", "our DPO ÷ TRL as shipped, wall time", "at most", 0.60, 0.47),
    Bound("R4_tuned", "our DPO ÷ TRL tuned, wall time", "at most", 0.85, 0.67),
    # The goal is 0.88 of the base alone where bare vLLM reached 0.58 of it.
    Bound(
        "R5", "many personas of rank 32, ours ÷ bare vLLM, tokens per second", "at least", 1.25, 1.52, when={"rank": 32}
    ),
    Bound(
        "R5_base",
        "tokens per second with many adapters of rank 32 ÷ base alone",
        "at least",
        0.88,
        0.93,
        when={"rank": 32},
    ),
    Bound(
        "R5_base",
        "tokens per second with many adapters of rank 256 ÷ base alone",
        "at least",
        0.60,
        0.70,
        when={"rank": 256},
    ),
    Bound("R6", "judge seconds to ±25 Elo points ÷ a written verdict of every seating", "at most", 0.40, 0.15),
    Bound("R7", "the same work as separate processes ÷ ours, end to end", "at least", 2.0, 3.0),
    Bound("R8", "whole pipeline with injected kills ÷ clean, wall time", "at most", 1.25, 1.08),
    Bound("R8_generation", "generation with injected kills ÷ clean, wall time", "at most", 1.25, 1.08),
)


def bound_of(ratio: str, settings: Mapping[str, Any]) -> Bound | None:
    """The bounds of a ratio under the settings of its record; ``None`` for one without."""
    for bound in BOUNDS:
        if bound.ratio == ratio and all(settings.get(name) == value for name, value in bound.when.items()):
            return bound
    return None
