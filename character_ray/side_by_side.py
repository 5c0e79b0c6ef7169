"""Whole runs side by side: each a process of its own, whose output goes to a file in its run's folder."""

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue

from character_ray.errors import CharacterRayError
from character_ray.log import console

__all__ = ["Work", "do_all", "error_of"]

LOG = "log.txt"


@dataclass(frozen=True)
class Work:
    """One run."""

    label: str
    folder: Path
    """The run's folder; what it prints is appended to ``log.txt`` there."""
    task: Callable[[], object]
    """Does the run; it is pickled, so it must be a module's function, with :func:`functools.partial` where it has arguments."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables set in its process."""


def do_all(works: Sequence[Work], at_once: int, places: Sequence[Mapping[str, str]] = ()) -> list[str]:
    """Do every work, ``at_once`` at a time; returns the error of each, empty where there was none.

    A work that fails does not stop the others, nor does one that is killed. Each gets a fresh process: Ray and CUDA hold on to theirs.

    Args:
        works: What is to be done.
        at_once: How many go on at a time.
        places: Variables of each place among those that go on, ``at_once`` of them; a work takes a place that is free.
    """
    free: SimpleQueue[Mapping[str, str]] = SimpleQueue()
    for number in range(at_once):
        free.put(places[number] if places else {})
    with ThreadPoolExecutor(at_once) as pool:
        started = {pool.submit(_in_a_place, work, free): work for work in works}
        try:
            for number, future in enumerate(as_completed(started), start=1):
                work, error = started[future], future.result()
                log = work.folder / LOG
                console.print(f"{number} of {len(works)}: {work.label}: {error or 'done'} ({log})", markup=False)
        except BaseException:
            # Interrupted: those that wait must not begin.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in started]


def error_of(task: Callable[[], object]) -> str:
    """Do it; returns the error that ended it, empty when there was none. Only an interruption passes through.

    The stack of an error that was not raised on purpose goes to standard error.
    """
    try:
        task()
    except CharacterRayError as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # one broken run must not end the others
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return ""


def _in_a_place(work: Work, free: "SimpleQueue[Mapping[str, str]]") -> str:
    place = free.get()
    try:
        return _in_a_process(replace(work, environment={**place, **work.environment}))
    finally:
        free.put(place)


def _in_a_process(work: Work) -> str:
    # A pool of its own for each: a process that is killed breaks its whole pool.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_apart, work).result()
        except BrokenProcessPool:
            return "its process was ended from outside, as the system does when memory runs out; run again to continue"


def _apart(work: Work) -> str:
    work.folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(work.environment)
    with (work.folder / LOG).open("a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
        return error_of(work.task)
