"""How many threads PyTorch's arithmetic on CPUs takes."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["few_threads"]


@contextmanager
def few_threads(most: int = 8) -> Iterator[None]:
    """No more threads than this in the block, or in the function that it decorates.

    PyTorch takes one thread a core. On a host with many cores the products of adapters are too small for so many, and runs side by side
    then wait for one another at every step.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(min(before, most))
    try:
        yield
    finally:
        torch.set_num_threads(before)
