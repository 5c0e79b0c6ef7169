"""Two passes at the same time, where neither needs what the other has."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from character_ray.errors import GenerationError
from character_ray.inference.passes import Generation
from character_ray.rows import Completion

__all__ = ["Pass", "one_after_the_other", "together"]


@dataclass(frozen=True)
class Pass:
    """What is wanted, and who completes it."""

    generations: Sequence[Generation]
    run: Callable[[Sequence[Generation]], None]


def one_after_the_other(first: Pass, second: Pass) -> None:
    """Both passes, the second when the first has ended."""
    for each in (first, second):
        each.run(each.generations)


def together(beside: Pass, here: Pass) -> None:
    """Both passes at the same time; where one fails, the other ends with its next rows, which are kept.

    Args:
        beside: Runs in a thread of its own.
        here: Runs in this one.

    Raises:
        Exception: What ended the pass that failed first.
        KeyboardInterrupt: It was stopped; the pass in the thread ends with its next rows.
    """
    stop = threading.Event()
    failures: list[BaseException] = []

    def run(each: Pass) -> None:
        try:
            each.run([_until(stop, generation) for generation in each.generations])
        except _StoppedError:
            pass
        except BaseException as failure:
            failures.append(failure)
            stop.set()

    # A daemon, since a user who stops the run does not wait for an engine that is still starting.
    thread = threading.Thread(target=run, args=(beside,), name="pass beside another", daemon=True)
    thread.start()
    run(here)
    if not failures or isinstance(failures[0], Exception):
        try:
            thread.join()
        except KeyboardInterrupt:
            stop.set()
            raise
    if failures:
        raise failures[0]


class _StoppedError(GenerationError):
    """The other pass failed."""


def _until(stop: threading.Event, generation: Generation) -> Generation:
    """The same generation, whose pass ends with the next rows once the event is set."""

    def watch(so_far: Sequence[Completion]) -> None:
        if stop.is_set():
            raise _StoppedError("the pass beside it failed")
        if generation.watch is not None:
            generation.watch(so_far)

    return replace(generation, watch=watch)
