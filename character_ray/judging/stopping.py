"""When enough has been asked: comparisons that may be looked at after every prompt without raising more false alarms.

A comparison is a bet against "the first wins a share m of the points" for every m at once. Whoever bets fairly multiplies a stake
by more than 1/alpha with probability alpha at most, ever; the m that no bet has ruined yet are a confidence sequence, valid at
every prompt together (hedged capital of Waudby-Smith and Ramdas 2023, arXiv 2010.09686, section 4.4).

Axes: T prompts, G candidate shares.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

__all__ = ["Comparison", "State", "compare_until"]

State = Literal["open", "first", "second", "close"]

GRID = 401
LARGEST_BET = 0.5
"""Share of the stake at risk in one bet; below 1, so that no single prompt ruins it."""


@dataclass
class Comparison:
    """Points of one player against another, prompt by prompt.

    Points of a prompt lie in [0, 1]: the mean over its seatings of 1 for a win, 0.5 for a tie and 0 for a loss. Prompts must be asked
    in an order that does not depend on their outcome.
    """

    alpha: float
    """Probability that the interval ever misses the true share; divide it by the number of pairs that are compared."""
    close: float = 0.0
    """The two are called close once the interval lies within this of one half; 0 never calls them so."""
    prompts: int = 0
    low: float = 0.0
    high: float = 1.0
    _sum: float = 0.5
    _squares: float = 0.25
    _gain_G: np.ndarray = field(default_factory=lambda: np.zeros(GRID))
    _loss_G: np.ndarray = field(default_factory=lambda: np.zeros(GRID))
    _evidence: float = 0.0

    @property
    def share(self) -> float:
        """Mean points so far; one half before any."""
        return (self._sum - 0.5) / self.prompts if self.prompts else 0.5

    @property
    def p_value(self) -> float:
        """Anytime-valid p-value of "both are equal"."""
        return min(1.0, math.exp(-self._evidence))

    @property
    def state(self) -> State:
        """What is known: who wins, that they are close, or neither yet."""
        if self.low > 0.5:
            return "first"
        if self.high < 0.5:
            return "second"
        if self.close and self.low >= 0.5 - self.close and self.high <= 0.5 + self.close:
            return "close"
        return "open"

    def add(self, points: float) -> None:
        """Take in one prompt.

        Raises:
            ValueError: ``points`` is outside [0, 1].
        """
        if not 0 <= points <= 1:
            raise ValueError(f"points={points} of a prompt lie outside 0 to 1")
        shares_G = np.linspace(0, 1, GRID)
        number = self.prompts + 1
        # The bet is settled before the points are seen: on what came before, its variance above all.
        variance = self._squares / number
        bet = math.sqrt(2 * math.log(2 / self.alpha) / (variance * number * math.log(1 + number)))
        with np.errstate(divide="ignore"):
            self._gain_G += np.log1p(np.minimum(bet, LARGEST_BET / shares_G) * (points - shares_G))
            self._loss_G += np.log1p(-np.minimum(bet, LARGEST_BET / (1 - shares_G)) * (points - shares_G))
        self.prompts, self._sum = number, self._sum + points
        self._squares += (points - self._sum / (number + 1)) ** 2
        # Half the stake bets on more, half on less.
        capital_G = np.maximum(self._gain_G, self._loss_G) - math.log(2)
        self._evidence = max(self._evidence, float(capital_G[GRID // 2]))
        alive = np.flatnonzero(capital_G < math.log(1 / self.alpha))
        step = 1 / (GRID - 1)
        # The grid's neighbours bound what lies between; a sequence that dies out altogether keeps its last point.
        if len(alive):
            self.low = max(self.low, (alive[0] - 1) * step if alive[0] else 0.0)
            self.high = min(self.high, (alive[-1] + 1) * step if alive[-1] < GRID - 1 else 1.0)


def compare_until(points_T: Iterable[float], alpha: float, close: float = 0.0) -> Comparison:
    """Take in prompts until it is known who wins, or that both are close, or there are no more."""
    comparison = Comparison(alpha, close)
    for points in points_T:
        comparison.add(points)
        if comparison.state != "open":
            break
    return comparison
