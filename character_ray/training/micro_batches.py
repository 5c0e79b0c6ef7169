"""Micro-batches of conversations of similar lengths, so that little of what is read is padding.

    an epoch's rows in seeded order  ->  steps of batch_size rows  ->  each cut into as many micro-batches as before

Which rows a step learns from is what plain training draws, and its loss is one mean over all tokens of the step, so losses, gradients and
weights are those of plain training up to rounding: only who is read beside whom within a step changes. Sorting across steps would save
more, but then a step would learn from rows of one length alone. Neither sampler of transformers is used: ``group_by_length`` sorts across
steps and draws another order after a checkpoint; ``batch_rebalance`` repeats rows in an epoch's last step, has one seed for all trainings
and forgets the epoch when several workers resume.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import BatchRebalanceSampler

__all__ = ["EvenSampler", "StepSampler", "padded_tokens", "split_step"]


def split_step(lengths_N: Sequence[int], parts: int, most: int) -> list[list[int]]:
    """Cut the rows of a step into parts with the fewest padded tokens; each holds rows of similar length, and at least one.

    Args:
        lengths_N: Tokens of each row.
        parts: How many, at most N.
        most: Rows of a part, if all were as long as the longest: no part is padded to more tokens than these. At least N / ``parts``.

    Returns:
        Indices of the rows of each part, the part with the most padded tokens first.
    """
    order = sorted(range(len(lengths_N)), key=lambda row: -lengths_N[row])
    # cost[i, j]: rows i to j - 1 of the order as one part, padded to the longest, which is the first.
    sizes_NN = np.arange(len(order) + 1)[None, :] - np.arange(len(order))[:, None]
    cost_NN = sizes_NN * np.array([lengths_N[row] for row in order], dtype=np.float64)[:, None]
    cost_NN[(sizes_NN <= 0) | (cost_NN > most * lengths_N[order[0]])] = np.inf
    least_N, starts = np.full(len(order) + 1, np.inf), []
    least_N[0] = 0
    for _ in range(parts):
        through_NN = least_N[:-1, None] + cost_NN
        starts.append(through_NN.argmin(0))
        least_N = through_NN.min(0)
    found, end = [], len(order)
    for start_N in reversed(starts):
        found.append(order[start_N[end] : end])
        end = int(start_N[end])
    return sorted(found, key=lambda part: -len(part) * lengths_N[part[0]])


def padded_tokens(lengths_N: Sequence[int], parts: Sequence[Sequence[int]]) -> int:
    """Tokens that are read, padding included, when each part is a batch padded to its longest row."""
    return sum(len(part) * max(lengths_N[row] for row in part) for part in parts)


def epoch_order(number: int, seed: int, multiple: int) -> list[int]:
    """A seeded order as accelerate draws it, and its beginning again until the rows are a multiple.

    Args:
        number: Rows of the data.
        seed: Of the order; accelerate adds the epoch.
        multiple: What the length is a multiple of.
    """
    order = torch.randperm(number, generator=torch.Generator().manual_seed(seed)).tolist()
    return list(islice(cycle(order), -(-number // multiple) * multiple))


class EvenSampler(Sampler[int]):
    """The order of plain training, whose last step any number of workers that may train divides into whole micro-batches.

    Args:
        number: Rows of the data.
        batch_size: Rows of a step.
        multiple: What the rows of an epoch are completed to a multiple of.
        seed: Of the order of rows; another in each epoch.
        epoch: Tells the epoch when it begins, or is taken up again, from the steps that each has.
    """

    def __init__(self, number: int, *, batch_size: int, multiple: int, seed: int, epoch: Callable[[int], int]) -> None:
        self._number, self._batch_size, self._multiple = number, batch_size, multiple
        self._seed, self._epoch_of = seed, epoch

    def __iter__(self) -> Iterator[int]:
        epoch = self._epoch_of(-(-len(self) // self._batch_size))
        yield from epoch_order(self._number, self._seed + epoch, self._multiple)

    def __len__(self) -> int:
        return -(-self._number // self._multiple) * self._multiple


class StepSampler(BatchRebalanceSampler):
    """One worker's micro-batches; a subclass of what transformers takes for a sampler that knows its worker.

    Args:
        lengths: Tokens of each row.
        micro_batch_size: Rows of a micro-batch on average, and its padded tokens at most, in rows of a step's longest.
        accumulation: Micro-batches of a worker in a step.
        workers: Data-parallel workers.
        rank: Which of them this is, from 0.
        seed: Of the order of rows; another in each epoch.
        epoch: Tells the epoch when it begins, or is taken up again.
        multiple: What the rows of an epoch are completed to a multiple of; by default micro-batches for all of several workers.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        micro_batch_size: int,
        accumulation: int,
        workers: int,
        rank: int,
        seed: int,
        epoch: Callable[[int], int],
        multiple: int | None = None,
    ) -> None:
        batch_size = micro_batch_size * accumulation * workers
        super().__init__(list(lengths), batch_size, workers, accumulation, seed=seed, rank=rank, drop_last=False)
        self._micro, self._epoch_of = micro_batch_size, epoch
        self._multiple = multiple or (micro_batch_size * workers if workers > 1 else 1)

    def steps(self, epoch: int) -> Iterator[list[int]]:
        """The rows of each step: a seeded order as accelerate draws it, and for several workers its beginning again until they are even."""
        order = epoch_order(len(self.lengths), self.seed + epoch, self._multiple)
        for start in range(0, len(order), self.effective_batch_size):
            yield order[start : start + self.effective_batch_size]

    def __iter__(self) -> Iterator[list[int]]:
        for rows in self.steps(self._epoch_of(self.num_global_batches)):
            parts = split_step([self.lengths[row] for row in rows], -(-len(rows) // self._micro), self._micro)
            # Parts of similar cost at the same time, since workers wait for each other.
            for part in parts[self.rank :: self.dp_size]:
                yield [rows[at] for at in part]

    def __len__(self) -> int:
        even = -(-len(self.lengths) // self._multiple) * self._multiple
        full, rest = divmod(even, self.effective_batch_size)
        return full * self.grad_accum + -(-rest // (self._micro * self.dp_size))
