"""Who plays and who sits where: drawn from the studio's seed and the number of the battle, so a draw can be repeated.

Whoever knows the seed can tell the seats: keep it to yourself where votes matter.
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["draw_one", "draw_pair", "draw_sampling_seed", "is_swapped"]

# Streams of the generator, so that one draw says nothing of another.
_SEATS, _PAIR, _SAMPLING = range(3)


def is_swapped(seed: int, number: int) -> bool:
    """Whether the contestant that was named first sits in B."""
    return bool(np.random.default_rng((seed, _SEATS, number)).integers(2))


def draw_pair(names: Sequence[str], seed: int, number: int) -> tuple[str, str]:
    """Two different names, each pair as likely as any other.

    Raises:
        ValueError: There are fewer than two.
    """
    first, second = np.random.default_rng((seed, _PAIR, number)).choice(len(names), size=2, replace=False)
    return names[first], names[second]


def draw_one(names: Sequence[str], seed: int, number: int) -> str:
    """One of the names.

    Raises:
        ValueError: There is none.
    """
    return names[int(np.random.default_rng((seed, _PAIR, number)).integers(len(names)))]


def draw_sampling_seed(seed: int, number: int, turn: int) -> int:
    """The seed both contestants sample with."""
    return int(np.random.default_rng((seed, _SAMPLING, number, turn)).integers(2**31))
