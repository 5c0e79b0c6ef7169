"""What becomes of requests when the engines of Ray Data die of one of them.

Ray Data starts an engine that died again and asks it the same rows, without end: a request that kills engines would be asked for ever.
"""

from collections.abc import Callable, Iterator, Sequence

from character_ray.errors import GenerationError
from character_ray.rows import Completion, Request

__all__ = ["RESTARTS", "Complete", "outliving"]

RESTARTS = 2
"""How often an engine of a pass is started again. One that dies of chance, or with its node, seldom needs more."""

Complete = Callable[[Sequence[Request]], Iterator[list[Completion]]]


def outliving(requests: Sequence[Request], together: Complete, apart: Complete | None) -> Iterator[list[Completion]]:
    """The completions of all requests, though engines die of some of them.

    Args:
        requests: What is asked.
        together: Completes requests, and raises Ray's error once an engine died more than ``RESTARTS`` times.
        apart: Completes those that are left then, and finds the ones that kill engines. Without, ``together`` goes on as long as it
            finishes some each time.

    Raises:
        GenerationError: Engines died again and again, and no request was finished between.
    """
    from ray.exceptions import RayActorError

    left = {request["row_id"]: request for request in requests}
    while left:
        before = len(left)
        try:
            for completions in together(list(left.values())):
                for completion in completions:
                    left.pop(completion["row_id"], None)
                yield completions
            return
        except RayActorError as death:
            if death.actor_init_failed:
                raise
            if apart is not None:
                yield from apart(list(left.values()))
                return
            if len(left) == before:
                raise GenerationError(
                    f"an engine died {RESTARTS + 1} times, and none of the {before:,} requests that are left was finished between: one of "
                    "them may kill it. The others are kept; see Ray's logs for what the engine died of, mend that and run again."
                ) from death
